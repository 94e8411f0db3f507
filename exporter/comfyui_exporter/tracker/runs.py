"""A run: one passage of a job through ComfyUI, from its submission to its one end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from comfyui_exporter.tracker.observations import Details, Failure, HistoryEntry
from comfyui_exporter.tracker.progress import NO_PROGRESS, Progress
from comfyui_exporter.tracker.registration import Registration


class State(StrEnum):
    """Where a run is; the last five are ends, and the values of `status` in comfyui_jobs_total."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETING = "completing"
    """It left the queue and its history entry is not read yet."""
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def ended(self) -> bool:
        """Whether this is one of the five ends."""
        return self in ENDS


ENDS = frozenset({State.COMPLETED, State.FAILED, State.INTERRUPTED, State.CANCELLED, State.LOST})


@dataclass(frozen=True, slots=True)
class Run:
    """What is known of one run. Immutable: the tracker replaces it, and whoever holds one holds a moment of it."""

    run_id: str
    prompt_id: str
    number: float
    state: State
    details: Details
    epoch: int
    """How many restarts of ComfyUI came before it: numbers and ids of another epoch are other jobs."""
    first_seen: float
    detailed: bool = True
    """Whether what was submitted is known; until it is (or the run ends), nobody is told of the run."""
    restored: bool = False
    """Continued from what was kept over a restart of ours, so that its graph is not known yet."""
    submission_seen: bool = False
    """Whether `first_seen` is about when it was submitted (not so for what our first look found waiting)."""
    started_at: float | None = None
    """When we saw it start or first saw it run, in our clock."""
    seen_running: bool = False
    """A read showed it running; without it a start is only presumed."""
    start_seen: bool = False
    """Whether `started_at` is about when it started, so that a wait may be measured with it."""
    heard_at: float | None = None
    """When an event first named it as executing: events are hints, and a read may still show it waiting."""
    progress: Progress = NO_PROGRESS
    predicted: float | None = None
    """Seconds that it was expected to take when it started; None where nothing like it was known."""
    registration: Registration | None = None
    """What was registered for it before it was seen, or while it was open."""
    timed_out: bool = False
    stalled: bool = False
    ended_at: float | None = None
    entry: HistoryEntry | None = None
    """The history entry that ended it; None while open and for cancelled and lost runs."""
    pattern: str = ""
    """Id of the failure pattern; "" unless failed."""

    @property
    def looked_into(self) -> bool:
        """Whether all that was submitted is known, so that nobody has to look into its queue item again."""
        return self.detailed and not self.restored

    @property
    def registered(self) -> bool:
        """Whether somebody registered it with us."""
        return self.registration is not None

    @property
    def order(self) -> tuple[float, str]:
        """ComfyUI takes pending jobs by (number, prompt_id)."""
        return (self.number, self.prompt_id)

    @property
    def failure(self) -> Failure | None:
        """The exception that ended it, if one did."""
        return self.entry.failure if self.entry else None

    @property
    def duration(self) -> float | None:
        """Seconds from execution start to end by ComfyUI's own timestamps; None where unknown or absurd."""
        if self.entry is None or self.entry.started_ms is None or self.entry.ended_ms is None:
            return None
        elapsed = (self.entry.ended_ms - self.entry.started_ms) / 1000
        return elapsed if elapsed >= 0 else None

    @property
    def queue_wait(self) -> float | None:
        """Seconds from submission to execution start, by ComfyUI's clock, else by our own sightings of both."""
        created = self.details.created_ms
        if created is not None and self.entry is not None and self.entry.started_ms is not None:
            waited = (self.entry.started_ms - created) / 1000
            return waited if waited >= 0 else None
        if created is None and self.submission_seen and self.start_seen and self.started_at is not None:
            waited = self.started_at - self.first_seen
            return waited if waited >= 0 else None
        return None
