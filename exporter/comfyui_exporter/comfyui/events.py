"""The frames of ComfyUI's WebSocket, as events."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from comfyui_exporter.comfyui.json import NULL, PayloadError, decode, text
from comfyui_exporter.comfyui.values import MOST_REMAINING


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """Something changed in the queue; pending and running together are so many now."""

    queue_remaining: int


@dataclass(frozen=True, slots=True)
class OtherEvent:
    """An event whose content is not read."""

    type: str


Event = StatusEvent | OtherEvent


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


class _Frame(msgspec.Struct):
    type: str
    data: msgspec.Raw = NULL


class _ExecInfo(msgspec.Struct):
    queue_remaining: int


class _QueueStatus(msgspec.Struct):
    exec_info: _ExecInfo


class _StatusData(msgspec.Struct):
    status: _QueueStatus


_frame = msgspec.json.Decoder(_Frame)
_status = msgspec.json.Decoder(_StatusData)


def read_frame(body: str | bytes) -> Event:
    """Read one text frame.

    Raises:
        PayloadError: it is no event, or a status without its number.

    """
    frame = decode(_frame, body.encode("utf-8", "replace") if isinstance(body, str) else body)
    if frame.type == "status":
        remaining = decode(_status, frame.data).status.exec_info.queue_remaining
        if not 0 <= remaining < MOST_REMAINING:
            raise PayloadError(f"queue_remaining is {remaining}")
        return StatusEvent(remaining)
    return OtherEvent(text(frame.type, 100))
