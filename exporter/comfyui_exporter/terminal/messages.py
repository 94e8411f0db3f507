"""What the exporter says, by HTTP and by the push socket, as far as a terminal shows it."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

import msgspec

ENDED = ("completed", "failed", "timeout", "cancelled")
"""Statuses that a job can end with. It ended once it has `ended_at`: `timeout` may go on."""


class Node(msgspec.Struct, frozen=True):
    """The node that executes."""

    id: str
    type: str | None = None
    value: float | None = None
    max: float | None = None


class File(msgspec.Struct, frozen=True):
    """A file or text that a job produced."""

    filename: str
    subfolder: str = ""
    type: str = "output"


class Failure(msgspec.Struct, frozen=True):
    """Why a job failed."""

    pattern: str
    node_id: str | None = None
    node_type: str | None = None
    exception_type: str | None = None


class Job(msgspec.Struct, frozen=True):
    """A job at one moment; docs/push.md says what each field means."""

    run_id: str
    comfyui_prompt_id: str
    status: str
    job_id: int | str | None = None
    progress_percent: float = 0.0
    progress_estimated: bool = False
    estimated_completion: datetime | None = None
    generation_time: float | None = None
    error_message: str | None = None
    server: str | None = None
    job_type: str = "unknown"
    batch_id: str | None = None
    queue_position: int | None = None
    node: Node | None = None
    stalled: bool = False
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outputs: tuple[File, ...] | None = None
    failure: Failure | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.ended_at is not None

    @property
    def running(self) -> bool:
        """Whether a server works on it."""
        if self.ended:
            return False
        started_long_ago = self.status == "timeout" and self.started_at is not None
        return self.status in {"processing", "completing"} or started_long_ago


class Device(msgspec.Struct, frozen=True):
    """A GPU of a server; bytes."""

    name: str = ""
    vram_total: int | None = None
    vram_free: int | None = None


class Server(msgspec.Struct, frozen=True):
    """A server at one moment; version and devices only come by HTTP."""

    server: str
    up: bool | None = None
    running: int | None = None
    pending: int | None = None
    drain_seconds: float | None = None
    version: str | None = None
    devices: tuple[Device, ...] = ()

    @property
    def idle(self) -> bool:
        """Whether it is up and has nothing to do."""
        return self.up is True and not self.running and not self.pending


class Batch(msgspec.Struct, frozen=True):
    """A batch at one moment."""

    batch_id: str
    total: int
    counts: dict[str, int]
    progress_percent: float = 0.0
    estimated_completion: datetime | None = None

    @property
    def active(self) -> bool:
        """Whether some of its jobs have not ended."""
        return sum(self.counts.get(status, 0) for status in ENDED) < self.total


class Alert(msgspec.Struct, frozen=True, rename={"starts_at": "startsAt", "ends_at": "endsAt"}):
    """An alert as Alertmanager told the exporter of it."""

    status: str
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        """What makes it the same one."""
        return tuple(sorted(self.labels.items()))


class Removed(msgspec.Struct, frozen=True):
    """Something is gone: a job by its run, or a server by its name."""

    run_id: str = ""
    server: str = ""


class Message(msgspec.Struct, frozen=True):
    """One message of the push socket; what `data` is depends on the type."""

    type: str
    data: msgspec.Raw = msgspec.Raw(b"null")


T = TypeVar("T")


def read(data: bytes | str | msgspec.Raw, kind: type[T]) -> T:
    """Decode JSON.

    Raises:
        ValueError: it is not what an exporter says (msgspec's errors are ValueErrors).

    """
    return msgspec.json.decode(data, type=kind)
