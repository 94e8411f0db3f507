"""Which of the jobs that somebody waits for are where: pure, fed with what the push sockets tell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from comfyui_exporter.terminal.messages import Job, Message, Removed, read


class Outcome(Enum):
    """How waiting for a job ended, each with its exit code."""

    COMPLETED = "completed", 0
    FAILED = "failed", 1
    UNREACHABLE = "unreachable", 3
    LOST = "lost", 4
    CANCELLED = "cancelled", 5
    """Interrupted, or deleted before it ran."""
    UNKNOWN = "unknown", 6
    """The exporter knows no such job."""
    TIMEOUT = "timeout", 7
    """We waited as long as we should; the job may still end."""

    def __init__(self, word: str, code: int) -> None:
        self.word = word
        self.code = code


class Run(NamedTuple):
    """One run of a job, read and as it was told."""

    job: Job
    data: dict[str, Any]


@dataclass(slots=True)
class Watched:
    """One job that is waited for."""

    name: str
    """Its job_id or prompt_id, as it was typed."""
    job: Job | None = None
    """What was last heard of it."""
    data: dict[str, Any] | None = None
    """The same, with all that the exporter says."""
    known: bool = False
    """Whether the exporter knows it now."""
    outcome: Outcome | None = None


class Source:
    """What one socket tells: its runs, kept true over reconnects."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.complete = False
        """Whether the snapshot of the present connection is over."""
        self._told: set[str] = set()

    def connected(self) -> None:
        """Expect a snapshot."""
        self.complete = False
        self._told = set()

    def lost(self) -> None:
        """Nothing more comes for now; what was told was true."""
        self.complete = False

    def hear(self, message: Message) -> bool:
        """Take in a message; whether it ended the snapshot.

        Raises:
            ValueError: its data is not what an exporter says.

        """
        match message.type:
            case "progress_update":
                job = read(message.data, Job)
                self.runs[job.run_id] = Run(job, read(message.data, dict[str, Any]))
                self._told.add(job.run_id)
            case "job_removed":
                self.runs.pop(read(message.data, Removed).run_id, None)
            case "snapshot_end":
                self.runs = {run_id: run for run_id, run in self.runs.items() if run_id in self._told}
                self.complete = True
                return True
        return False


class Watchlist:
    """All jobs that are waited for. Its sources ask by prompt_id and by job_id, as nobody says which a name is."""

    def __init__(self, names: Iterable[str]) -> None:
        self.watched = [Watched(name) for name in dict.fromkeys(names)]
        self.sources = (Source(), Source())

    @property
    def over(self) -> bool:
        """Whether nothing is waited for any more."""
        return all(each.outcome is not None for each in self.watched)

    @property
    def complete(self) -> bool:
        """Whether both sockets have told all they know."""
        return all(source.complete for source in self.sources)

    @property
    def missing(self) -> list[Watched]:
        """Those of which nothing is known; for certain only while it is `complete`."""
        return [each for each in self.watched if each.outcome is None and not each.known]

    def look(self) -> list[Watched]:
        """Conclude from what was told; those of which there is news."""
        runs = [run for source in self.sources for run in source.runs.values()]
        return [each for each in self.watched if each.outcome is None and self._conclude(each, _newest(each, runs))]

    def found(self, each: Watched, run: Run) -> bool:
        """Take in what the API knows of one; whether that is news. Only its end: the sockets tell of what goes on."""
        return each.outcome is None and run.job.ended and self._conclude(each, run)

    def give_up(self, outcome: Outcome) -> None:
        """Wait no longer."""
        for each in self.watched:
            each.outcome = each.outcome or outcome

    def _conclude(self, each: Watched, run: Run | None) -> bool:
        if run is None:
            # In doubt it is not gone: half a snapshot knows half the jobs.
            if self.complete:
                each.known = False
            return False
        news = run.job != each.job or not each.known
        each.job, each.data, each.known = run.job, run.data, True
        each.outcome = outcome_of(run.job)
        return news


def outcome_of(job: Job) -> Outcome | None:
    """How a job ended; None while it goes on."""
    if job.status == "timeout" and (job.ended or (job.server is None and job.started_at is None)):
        # Ended, it disappeared. Without a server it was registered, and the exporter has given up to look for it.
        return Outcome.LOST
    if not job.ended:
        return None
    return {"completed": Outcome.COMPLETED, "cancelled": Outcome.CANCELLED}.get(job.status, Outcome.FAILED)


def exit_code(watched: Iterable[Watched]) -> int:
    """0 if all completed, else the lowest of the other codes."""
    return min((each.outcome.code for each in watched if each.outcome and each.outcome.code), default=0)


def _newest(each: Watched, runs: Sequence[Run]) -> Run | None:
    """Of several runs the one that goes on, else the one that ended last."""
    mine = [run for run in runs if each.name in {run.job.comfyui_prompt_id, str(run.job.job_id)}]
    return max(mine, key=lambda run: _place(run.job), default=None)


def _place(job: Job) -> tuple[bool, float]:
    moment = job.ended_at or job.started_at or job.submitted_at
    return not job.ended, 0.0 if moment is None else moment.timestamp()
