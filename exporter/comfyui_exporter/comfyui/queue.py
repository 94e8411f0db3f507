"""GET /prompt, /queue and /api/jobs: what runs and waits.

Bodies are decoded without ever building Python objects for graphs (for 14 MB: 8 ms instead of 70). What is readable of
a payload is used and the rest is reported as problems, so that one malformed job hides no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from comfyui_exporter.comfyui.json import NULL, Body, PayloadError, decode
from comfyui_exporter.comfyui.submission import SubmissionReader
from comfyui_exporter.comfyui.values import (
    MOST_REMAINING,
    Item,
    Listed,
    begin_items,
    no_more,
    note,
    number_of,
    prompt_id_of,
    too_many,
)
from comfyui_exporter.tracker.observations import Details, QueueItem

Known = Callable[[str, float], int]
"""How many open runs the reader has of a (prompt_id, number): that many items need no look inside."""


class _ListedItem(Item, Listed, array_like=True):
    pass


class _Queue(msgspec.Struct):
    queue_running: list[_ListedItem]
    queue_pending: list[_ListedItem]


class _LooseQueue(msgspec.Struct):
    queue_running: list[msgspec.Raw]
    queue_pending: list[msgspec.Raw]


class _ExecInfo(msgspec.Struct):
    queue_remaining: int


class _Prompt(msgspec.Struct):
    exec_info: _ExecInfo


class _Job(msgspec.Struct):
    id: str
    status: str
    priority: int | float | None = None


class _ListedJob(_Job, Listed):
    pass


class _Jobs(msgspec.Struct):
    jobs: list[_ListedJob]


class _LooseJobs(msgspec.Struct):
    jobs: list[msgspec.Raw]


class _Workflow(msgspec.Struct):
    prompt: msgspec.Raw = NULL
    extra_data: msgspec.Raw = NULL
    outputs_to_execute: msgspec.Raw = NULL


class _JobDetail(msgspec.Struct):
    workflow: _Workflow | None = None


_prompt = msgspec.json.Decoder(_Prompt)
_queue = msgspec.json.Decoder(_Queue)
_loose_queue = msgspec.json.Decoder(_LooseQueue)
_item = msgspec.json.Decoder(_ListedItem)
_loose_jobs = msgspec.json.Decoder(_LooseJobs)
_jobs = msgspec.json.Decoder(_Jobs)
_job = msgspec.json.Decoder(_ListedJob)
_job_detail = msgspec.json.Decoder(_JobDetail)


@dataclass(slots=True)
class QueuePayload:
    """What an answer to /queue (or the open part of /api/jobs) holds."""

    running: tuple[QueueItem, ...] = ()
    pending: tuple[QueueItem, ...] = ()
    problems: list[str] = field(default_factory=list)


def read_prompt(body: Body) -> int:
    """Read GET /prompt: running and pending jobs together.

    Raises:
        PayloadError: it isn't what ComfyUI answers.

    """
    remaining = decode(_prompt, body).exec_info.queue_remaining
    if not 0 <= remaining < MOST_REMAINING:
        raise PayloadError(f"queue_remaining is {remaining}")
    return remaining


def read_queue(body: Body, submissions: SubmissionReader, known: Known) -> QueuePayload:
    """Read GET /queue, looking inside only those items that are not known yet.

    Raises:
        PayloadError: it isn't what ComfyUI answers.

    """
    payload = QueuePayload()
    begin_items()
    try:
        strict = decode(_queue, body, None)
        columns: Sequence[Iterable[Item]] = (strict.queue_running, strict.queue_pending)
    except PayloadError:
        if too_many():
            raise
        loose = decode(_loose_queue, body)
        no_more([*loose.queue_running, *loose.queue_pending])
        columns = (_readable(loose.queue_running, payload), _readable(loose.queue_pending, payload))
    seen: dict[tuple[str, float], int] = {}
    payload.running, payload.pending = (
        tuple(_queue_item(item, submissions, known, seen) for item in column) for column in columns
    )
    return payload


def _readable(raws: Iterable[msgspec.Raw], payload: QueuePayload) -> list[Item]:
    items: list[Item] = []
    for raw in raws:
        try:
            items.append(decode(_item, raw, None))
        except PayloadError as error:
            note(payload.problems, f"queue item: {error}")
    return items


def _queue_item(
    item: Item, submissions: SubmissionReader, known: Known, seen: dict[tuple[str, float], int]
) -> QueueItem:
    key = (prompt_id_of(item.prompt_id), number_of(item.number))
    seen[key] = seen.get(key, 0) + 1
    details = None
    if seen[key] > known(*key):
        details = submissions.read(item.extra_data, item.graph, item.outputs_to_execute)
    return QueueItem(*key, details)


def read_jobs(body: Body) -> QueuePayload:
    """Read GET /api/jobs of the jobs in the queue; it has no graphs, so their details are None.

    Raises:
        PayloadError: it isn't what ComfyUI answers.

    """
    payload = QueuePayload()
    running: list[QueueItem] = []
    pending: list[QueueItem] = []
    for job in _listed_jobs(body, payload):
        if job.priority is None or job.status not in {"in_progress", "pending"}:
            note(payload.problems, "job: neither pending nor in_progress, or without priority")
            continue
        key = (prompt_id_of(job.id), number_of(job.priority))
        (running if job.status == "in_progress" else pending).append(QueueItem(*key, None))
    payload.running, payload.pending = tuple(running), tuple(pending)
    return payload


def _listed_jobs(body: Body, payload: QueuePayload) -> list[_ListedJob]:
    begin_items()
    try:
        return decode(_jobs, body, None).jobs
    except PayloadError:
        if too_many():
            raise
    raws = decode(_loose_jobs, body).jobs
    no_more(raws)
    jobs = []
    for raw in raws:
        try:
            jobs.append(decode(_job, raw))
        except PayloadError as error:
            note(payload.problems, f"job: {error}")
    return jobs


def read_job_details(body: Body, submissions: SubmissionReader) -> Details | None:
    """Read GET /api/jobs/{id} of a job in the queue; None where this ComfyUI tells no workflow of such jobs.

    Raises:
        PayloadError: it isn't what ComfyUI answers.

    """
    workflow = decode(_job_detail, body).workflow
    return (
        None
        if workflow is None
        else submissions.read(workflow.extra_data, workflow.prompt, workflow.outputs_to_execute)
    )
