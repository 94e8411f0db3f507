"""A job as its user sees it: the words that push, API and library share. Every point in time is timezone-aware, UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class ProgressStatus(StrEnum):
    """Where a job is."""

    UNKNOWN = "unknown"
    INITIALIZING = "initializing"
    """Registered, and not yet seen by any server."""
    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETING = "completing"
    """It left the queue, and the history is not read yet."""
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    """It disappeared; or it runs for longer than `job_timeout` or was registered and never seen, and may still end."""
    CANCELLED = "cancelled"
    """It was interrupted, or deleted from the queue before it ran."""


@dataclass(frozen=True, slots=True)
class RunningNode:
    """The node that executes."""

    id: str
    type: str | None
    """Its class; None where the submitted graph does not have the node."""
    value: float
    max: float


@dataclass(frozen=True, slots=True)
class NodeDetail:
    """One node of a job's graph, as far as events told of it."""

    id: str
    type: str | None
    state: str
    """`pending`, `running`, `finished` or `cached`."""
    value: float
    max: float
    seconds: float | None
    """How long it took, or has been running for; None where its beginning was not heard."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file or text that a job produced."""

    node_id: str
    filename: str
    subfolder: str
    type: str
    """`output` or `temp`, ComfyUI's folder."""
    media: str
    """`images`, `video`, `audio`, `3d`, `text` or `other`."""


@dataclass(frozen=True, slots=True)
class FailureReport:
    """Why a job failed."""

    pattern: str
    """Id of the failure pattern."""
    node_id: str | None
    node_type: str | None
    exception_type: str | None


@dataclass(frozen=True, slots=True)
class ProgressUpdate:
    """A job at one moment."""

    job_id: int | str | None
    """What the submitter gave; 123 and "123" are the same job."""
    comfyui_prompt_id: str
    status: ProgressStatus
    progress_percent: float = 0.0
    """Never falls, and is 100 only when completed."""
    current_step: int = 0
    total_steps: int = 0
    estimated_completion: datetime | None = None
    generation_time: float | None = None
    """Seconds from execution start to end, once it ended."""
    error_message: str | None = None
    server: str | None = None
    """None until a server was seen to have it."""
    run_id: str = ""
    job_type: str = "unknown"
    batch_id: str | None = None
    queue_position: int | None = None
    """Its place among those waiting, from 1; None when it does not wait."""
    node: RunningNode | None = None
    stalled: bool = False
    progress_estimated: bool = False
    """Whether the percent comes from elapsed time against the estimate, because no events of the job can be heard."""
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    updated_at: datetime | None = None
    outputs: tuple[OutputFile, ...] | None = None
    """None until the end."""
    failure: FailureReport | None = None
    """None until the end, and unless it failed."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Values of the configured `job_labels`."""

    @property
    def terminal(self) -> bool:
        """Whether the job ended: nothing more will come."""
        return self.ended_at is not None


@dataclass(frozen=True, slots=True)
class BatchUpdate:
    """A batch at one moment: the jobs that were submitted with one batch_id."""

    batch_id: str
    total: int
    counts: Mapping[ProgressStatus, int]
    """How many jobs are in which status; those of 0 are absent."""
    progress_percent: float
    """Mean over its jobs by how long they take; ended ones count as 100 however they ended. 100 only when all ended."""
    estimated_completion: datetime | None = None
    """When the last of its jobs should be done; None unless that is known of each that has not ended."""


@dataclass(frozen=True, slots=True)
class ServerUpdate:
    """A server at one moment."""

    server: str
    up: bool | None
    """None until the first answer or the third failed try."""
    running: int | None
    pending: int | None
    drain_seconds: float | None
    """Estimated time until the queue is empty; None without an estimate."""


@dataclass(frozen=True, slots=True)
class JobRemoved:
    """A finished job left memory; nothing is known of it any more."""

    run_id: str
