"""What a read of ComfyUI shows, as typed facts: the only thing that the tracker is ever told.

The `comfyui` package makes these from payloads; nothing here knows the wire format. Times named `*_ms` are milliseconds
of ComfyUI's clock, every `at` is seconds of ours; the two are never subtracted from each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """How a history entry says that a run ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class Media(StrEnum):
    """What kind of thing a node put out, the `media` label of comfyui_job_outputs_total."""

    IMAGES = "images"
    VIDEO = "video"
    AUDIO = "audio"
    THREE_D = "3d"
    TEXT = "text"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Details:
    """What the submitter sent along with a job, as far as we take it; `extra_data` itself stays at the edge."""

    job_id: str | None = None
    job_type: str = "unknown"
    batch_id: str | None = None
    created_ms: int | None = None
    """ComfyUI's `create_time`; only newer versions have it."""
    labels: tuple[str, ...] = ()
    """Values of the configured `job_labels`, in their order; "" where the submitter gave none."""


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One element of queue_running or queue_pending."""

    prompt_id: str
    number: float
    details: Details | None
    """None where the reader already knew the job and had no need to look inside."""


@dataclass(frozen=True, slots=True)
class Output:
    """One file or text that a job produced."""

    node_id: str
    media: Media
    filename: str = ""
    subfolder: str = ""
    type: str = "output"


@dataclass(frozen=True, slots=True)
class Failure:
    """The exception that ended a job, its strings bounded; the traceback is never kept."""

    node_id: str = ""
    node_type: str = ""
    exception_type: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One entry of ComfyUI's history: a run that is over."""

    prompt_id: str
    number: float
    outcome: Outcome
    details: Details = Details()
    started_ms: int | None = None
    ended_ms: int | None = None
    failure: Failure | None = None
    outputs: tuple[Output, ...] = ()
    """At most a few hundred; `output_counts` has them all."""
    output_counts: Mapping[Media, int] = field(default_factory=dict)
    """Without temporary files and without those of nodes that came from the cache."""
    nodes_executed: int = 0
    nodes_cached: int = 0

    @property
    def identity(self) -> tuple[str, float, int | None]:
        """What tells one run in the history from every other: a reused prompt_id has another start."""
        return (self.prompt_id, self.number, self.started_ms)


@dataclass(frozen=True, slots=True)
class QueueRead:
    """An answered read of the whole queue."""

    at: float
    running: tuple[QueueItem, ...]
    pending: tuple[QueueItem, ...]
    complete: bool = True
    """False where items were unreadable: then absence proves nothing."""


@dataclass(frozen=True, slots=True)
class HistoryLookup:
    """An answered read of /history/{prompt_id}."""

    at: float
    prompt_id: str
    entry: HistoryEntry | None


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """An answered read of consecutive history entries, oldest first, as ComfyUI gives them."""

    at: float
    entries: tuple[HistoryEntry, ...]


@dataclass(frozen=True, slots=True)
class Restarted:
    """ComfyUI is another process than before: its queue, history and numbers began anew."""

    at: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed while the server answered; what depends on time alone happens now."""

    at: float


Observation = QueueRead | HistoryLookup | HistoryPage | Restarted | Tick


@dataclass(frozen=True, slots=True)
class Device:
    """One compute device of /system_stats; sizes in bytes."""

    name: str
    type: str
    vram_total: int | None = None
    vram_free: int | None = None
    torch_vram_total: int | None = None
    torch_vram_free: int | None = None


@dataclass(frozen=True, slots=True)
class SystemStats:
    """What /system_stats says of the server; sizes in bytes."""

    version: str = ""
    python_version: str = ""
    pytorch_version: str = ""
    os: str = ""
    ram_total: int | None = None
    ram_free: int | None = None
    devices: tuple[Device, ...] = ()
