"""GET /history in all its forms: the runs that are over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec

from comfyui_exporter.comfyui.json import NULL, Body, PayloadError, decode, text
from comfyui_exporter.comfyui.outputs import read_outputs
from comfyui_exporter.comfyui.submission import SubmissionReader
from comfyui_exporter.comfyui.values import (
    MAX_NAME,
    Item,
    Listed,
    begin_items,
    milliseconds,
    no_more,
    note,
    number_of,
    prompt_id_of,
    too_many,
)
from comfyui_exporter.tracker.observations import Failure, HistoryEntry, Outcome

_MAX_MESSAGE = 2_000

_MOST_MESSAGES = 1_000
"""Of one entry, which has three to five."""

Knows = Callable[[tuple[str, float, int | None]], bool]
"""Whether a history entry of this (prompt_id, number, started_ms) is accounted for already."""


def _knows_none(_identity: tuple[str, float, int | None]) -> bool:
    return False


class _Message(msgspec.Struct, array_like=True):
    event: str
    data: msgspec.Raw


class _EventData(msgspec.Struct):
    timestamp: object = None
    nodes: object = None
    node_id: object = None
    node_type: object = None
    exception_type: object = None
    exception_message: object = None


class _Status(msgspec.Struct):
    status_str: object = None
    messages: msgspec.Raw = NULL


class _Entry(Listed):
    prompt: Item
    outputs: msgspec.Raw = NULL
    status: msgspec.Raw = NULL


_history = msgspec.json.Decoder(dict[str, _Entry])
_loose_history = msgspec.json.Decoder(dict[str, msgspec.Raw])
_entry = msgspec.json.Decoder(_Entry)
_status = msgspec.json.Decoder(_Status | None)
_messages = msgspec.json.Decoder(list[msgspec.Raw] | None)
_message = msgspec.json.Decoder(_Message)
_event_data = msgspec.json.Decoder(_EventData)


@dataclass(slots=True)
class HistoryPayload:
    """What an answer to /history or /history/{prompt_id} holds, oldest first; `size` counts unreadable entries too."""

    entries: tuple[HistoryEntry, ...] = ()
    size: int = 0
    problems: list[str] = field(default_factory=list)


def read_history(body: Body, submissions: SubmissionReader, knows: Knows = _knows_none) -> HistoryPayload:
    """Read GET /history in any of its forms, looking inside only those entries that are not known yet.

    Raises:
        PayloadError: it isn't what ComfyUI answers.

    """
    payload = HistoryPayload()
    found = _entries(body, payload)
    if payload.size and not found:
        # Something is there, which is not the same as nothing.
        raise PayloadError(payload.problems[0])
    payload.entries = tuple(
        _history_entry(prompt_id, entry, submissions, knows, payload.problems) for prompt_id, entry in found.items()
    )
    return payload


def _entries(body: Body, payload: HistoryPayload) -> dict[str, _Entry]:
    begin_items()
    try:
        entries = decode(_history, body, None)
    except PayloadError:
        if too_many():
            raise
    else:
        payload.size = len(entries)
        return entries
    raws = decode(_loose_history, body)
    no_more(raws)
    payload.size = len(raws)
    entries = {}
    for prompt_id, raw in raws.items():
        try:
            entries[prompt_id] = decode(_entry, raw, None)
        except PayloadError as error:
            note(payload.problems, f"history entry: {error}")
    return entries


def _history_entry(
    prompt_id: str, entry: _Entry, submissions: SubmissionReader, knows: Knows, problems: list[str]
) -> HistoryEntry:
    status = _read_status(entry.status, problems)
    bare = HistoryEntry(
        prompt_id=prompt_id_of(prompt_id),
        number=number_of(entry.prompt.number),
        outcome=status.outcome,
        started_ms=status.started_ms,
        ended_ms=status.ended_ms,
    )
    if knows(bare.identity):
        return bare
    outputs, counts = read_outputs(entry.outputs, status.cached)
    details = submissions.read(entry.prompt.extra_data, entry.prompt.graph, entry.prompt.outputs_to_execute)
    needed = details.graph.nodes.keys() if details.graph is not None else frozenset[str]()
    return replace(
        bare,
        details=details,
        failure=status.failure,
        outputs=outputs,
        output_counts=counts,
        nodes_executed=len(needed - status.cached),
        nodes_cached=len(needed & status.cached) if needed else len(status.cached),
    )


@dataclass(slots=True)
class _Told:
    """What the messages of a history entry tell."""

    outcome: Outcome
    started_ms: int | None = None
    ended_ms: int | None = None
    failure: Failure | None = None
    cached: frozenset[str] = frozenset()


def _read_status(raw: msgspec.Raw, problems: list[str]) -> _Told:
    """Read `status`: null counts as completed, as ComfyUI's own /api/jobs takes it."""
    told = _Told(Outcome.COMPLETED)
    try:
        status = decode(_status, raw)
        if status is None:
            return told
        if status.status_str == "error":
            told.outcome = Outcome.FAILED
        raw_messages = decode(_messages, status.messages) or ()
    except PayloadError as error:
        note(problems, f"status: {error}")
        return told
    for raw_message in raw_messages[:_MOST_MESSAGES]:
        try:
            message = decode(_message, raw_message)
            data = decode(_event_data, message.data)
        except PayloadError as error:
            note(problems, f"message: {error}")
            continue
        _take_message(told, message.event, data)
    return told


def _take_message(told: _Told, event: str, data: _EventData) -> None:
    match event:
        case "execution_start":
            told.started_ms = milliseconds(data.timestamp)
        case "execution_cached" if isinstance(data.nodes, list):
            told.cached = frozenset(node for node in data.nodes if isinstance(node, str))
        case "execution_success":
            told.ended_ms = milliseconds(data.timestamp)
        case "execution_interrupted":
            # Only this message tells an interrupt from a failure (recording `interrupt_running`).
            told.ended_ms = milliseconds(data.timestamp)
            if told.outcome is Outcome.FAILED:
                told.outcome = Outcome.INTERRUPTED
        case "execution_error":
            told.ended_ms = milliseconds(data.timestamp)
            told.failure = Failure(
                node_id=text(data.node_id, MAX_NAME),
                node_type=text(data.node_type, MAX_NAME),
                exception_type=text(data.exception_type, MAX_NAME),
                message=text(data.exception_message, _MAX_MESSAGE).strip(),
            )
        case _:
            pass
