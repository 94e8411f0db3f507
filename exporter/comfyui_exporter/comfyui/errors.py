"""Why a read of ComfyUI gave nothing."""

from __future__ import annotations

from enum import StrEnum


class ErrorKind(StrEnum):
    """The `result` label of comfyui_exporter_requests_total, beside ok."""

    TIMEOUT = "timeout"
    """No answer in time. A node that holds the interpreter makes ComfyUI silent for as long: slow is not dead."""
    CONNECTION = "connection"
    """Not reached, or cut off."""
    HTTP = "http"
    """An answer with a status that is not expected."""
    PAYLOAD = "payload"
    """An answer that is not what ComfyUI says there, or too large."""


class ReadError(Exception):
    """A read without a usable answer; `refused` if nothing listens there, `status` if HTTP says no."""

    def __init__(self, kind: ErrorKind, message: str, *, refused: bool = False, status: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.refused = refused
        self.status = status
