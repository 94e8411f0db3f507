"""What changed in the life of a run: the only thing that sinks are ever told."""

from __future__ import annotations

from dataclasses import dataclass

from comfyui_exporter.tracker.progress import Timed
from comfyui_exporter.tracker.runs import Run


@dataclass(frozen=True, slots=True)
class Submitted:
    """First sight of a run. Exactly one per run."""

    at: float
    run: Run


@dataclass(frozen=True, slots=True)
class Started:
    """A run began to execute, seen or presumed (then `run.seen_running` is False)."""

    at: float
    run: Run


@dataclass(frozen=True, slots=True)
class Changed:
    """Something else that a reader of the run may show: back in the queue, completing, seen running, stalled."""

    at: float
    run: Run


@dataclass(frozen=True, slots=True)
class Progressed:
    """A run came further, or is at another node or step."""

    at: float
    run: Run


@dataclass(frozen=True, slots=True)
class NodeTimed:
    """A node of some run, or steps of one, took so long."""

    at: float
    timed: Timed


@dataclass(frozen=True, slots=True)
class TimedOut:
    """A run has been running for longer than `job_timeout`; it may still end, and then does so as usual."""

    at: float
    run: Run


@dataclass(frozen=True, slots=True)
class Ended:
    """The one end of a run."""

    at: float
    run: Run


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A finished run left memory."""

    at: float
    run: Run


@dataclass(frozen=True, slots=True)
class ServerRestarted:
    """ComfyUI began anew."""

    at: float


Transition = Submitted | Started | Changed | Progressed | NodeTimed | TimedOut | Ended | Forgotten | ServerRestarted
