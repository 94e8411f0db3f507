"""The frames of ComfyUI's WebSocket, as events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from comfyui_exporter.comfyui.graph import MAX_NODE_ID
from comfyui_exporter.comfyui.json import NULL, PayloadError, decode, tag
from comfyui_exporter.comfyui.values import MOST_REMAINING, prompt_id_of
from comfyui_exporter.tracker.observations import (
    ExecutionBegan,
    ExecutionOver,
    NodeHeard,
    NodesCached,
    NodesHeard,
    NodeState,
)


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """Something changed in the queue; pending and running together are so many now."""

    queue_remaining: int


@dataclass(frozen=True, slots=True)
class OtherEvent:
    """An event whose content is not read."""

    type: str


ExecutionEvent = ExecutionBegan | NodesCached | NodesHeard | ExecutionOver
"""What an executing job is doing."""

Frame = StatusEvent | OtherEvent | ExecutionEvent

EVENT_TYPES = frozenset(
    {
        "execution_cached",
        "execution_error",
        "execution_interrupted",
        "execution_start",
        "execution_success",
        "executed",
        "executing",
        "feature_flags",
        "progress",
        "progress_state",
        "status",
    }
)
"""The types that ComfyUI itself sends; extensions send others."""

_BLOCKED = "ExecutionBlocked"
"""A blocked node sends an error although its job goes on (recordings `receivers_blocked_*`)."""

MOST_TEXT = 8 * 1024 * 1024
"""Characters of a text frame: what tells of 20,000 nodes has half of it. Previews are binary."""

MOST_NODES = 20_000
"""Nodes read of one frame."""

_LARGEST = 1e15
"""Steps beyond it are none."""


class _Frame(msgspec.Struct):
    type: str
    data: msgspec.Raw = NULL


class _ExecInfo(msgspec.Struct):
    queue_remaining: int


class _QueueStatus(msgspec.Struct):
    exec_info: _ExecInfo


class _StatusData(msgspec.Struct):
    status: _QueueStatus


class _ExecutionData(msgspec.Struct):
    prompt_id: str | None = None
    """null or absent in the `executing` that greets a socket of the submitter's id."""
    node: object = None
    nodes: msgspec.Raw = NULL
    value: object = None
    max: object = None
    exception_type: object = None


class _NodeState(msgspec.Struct):
    state: str
    value: object = None
    max: object = None
    real_node_id: object = None
    display_node_id: object = None


_frame = msgspec.json.Decoder(_Frame)
_status = msgspec.json.Decoder(_StatusData)
_execution = msgspec.json.Decoder(_ExecutionData)
_states: msgspec.json.Decoder[dict[str, _NodeState | None]] = msgspec.json.Decoder(dict[str, _NodeState | None])
_ids = msgspec.json.Decoder(list[object])


def read_frame(body: str | bytes, at: float = 0.0) -> tuple[str, Frame]:
    """Read one text frame that came in at that time: its type, bounded, and what it says.

    Raises:
        PayloadError: it is no event, or one that we read and not of the shape that ComfyUI gives it.

    """
    if len(body) > MOST_TEXT:
        message = f"a text of {len(body)} characters"
        raise PayloadError(message)
    frame = decode(_frame, body.encode("utf-8", "replace") if isinstance(body, str) else body)
    kind = frame.type
    if kind == "status":
        remaining = decode(_status, frame.data).status.exec_info.queue_remaining
        if not 0 <= remaining < MOST_REMAINING:
            raise PayloadError(f"queue_remaining is {remaining}")
        return kind, StatusEvent(remaining)
    event = _execution_event(kind, frame.data, at) if kind in EVENT_TYPES and kind != "feature_flags" else None
    return kind[:100], event or OtherEvent(tag(kind, 100))


def _execution_event(kind: str, raw: msgspec.Raw, at: float) -> ExecutionEvent | None:
    """Read what an event says of an executing job; None where that is nothing."""
    data = decode(_execution, raw)
    if data.prompt_id is None:
        return None
    prompt_id = prompt_id_of(data.prompt_id)
    event: ExecutionEvent | None = None
    match kind:
        case "execution_start":
            event = ExecutionBegan(at, prompt_id)
        case "execution_cached":
            event = NodesCached(at, prompt_id, tuple(_node_ids(data.nodes)))
        case "execution_success" | "execution_interrupted":
            event = ExecutionOver(at, prompt_id)
        case "execution_error" if data.exception_type != _BLOCKED:
            event = ExecutionOver(at, prompt_id)
        case "progress_state":
            event = NodesHeard(at, prompt_id, tuple(_node_states(decode(_states, data.nodes))), whole=True)
        case "executing" if data.node is None:
            event = ExecutionOver(at, prompt_id)
        case "progress" | "executing" | "executed":
            node = _node_heard(kind, data)
            event = None if node is None else NodesHeard(at, prompt_id, (node,))
        case _:
            pass
    return event


def _node_heard(kind: str, data: _ExecutionData) -> NodeHeard | None:
    node_id = tag(data.node, MAX_NODE_ID)
    if not node_id:
        return None
    if kind == "progress":
        value, most = _steps(data.value, data.max)
        return NodeHeard(node_id, NodeState.RUNNING, value, most)
    return NodeHeard(node_id, NodeState.FINISHED if kind == "executed" else NodeState.RUNNING)


def _node_ids(raw: msgspec.Raw) -> Iterator[str]:
    for node in decode(_ids, raw)[:MOST_NODES]:
        node_id = tag(node, MAX_NODE_ID)
        if node_id:
            yield node_id


def _node_states(states: dict[str, _NodeState | None]) -> Iterator[NodeHeard]:
    for count, (node_id, told) in enumerate(states.items()):
        if told is None or count >= MOST_NODES:
            continue
        # A node failed or interrupted stays `running`; an unknown state of a newer version is no end either.
        state = NodeState.FINISHED if told.state == "finished" else NodeState.RUNNING
        value, most = _steps(told.value, told.max)
        outer = tag(told.real_node_id, MAX_NODE_ID) or tag(told.display_node_id, MAX_NODE_ID)
        yield NodeHeard(tag(node_id, MAX_NODE_ID), state, value, most, outer)


def _steps(value: object, most: object) -> tuple[float, float]:
    """Take a node's step and how many it has; what is no number, or absurd, is taken as a node without steps."""
    at, steps = _amount(value), _amount(most)
    return (0.0, 1.0) if at is None or not steps else (min(at, steps), steps)


def _amount(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LARGEST:
        return float(value)
    return None
