"""One batch: how many of its jobs are in which status, how far they are together, and when the last will be done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from heapq import heapify, heappop, heappush

from comfyui_exporter.jobs.update import BatchUpdate, ProgressStatus, ProgressUpdate

_WHOLE = 100_000
"""A job that is done, in thousandths of a percent. Whole numbers, because sums of them never drift."""
_SHORTEST = 1
"""Milliseconds that a job weighs at least: what came from the cache took none, and is work all the same."""
_HIGHEST_UNFINISHED = 99.9
"""Percent that a batch shows at most before all its jobs ended."""
_SPARE_ENDS = 64
"""Outdated ends that are kept without a thought of clearing them away."""


@dataclass(slots=True)
class Work:
    """What jobs weigh and how much of that is done. A job of unknown weight weighs the mean of the others."""

    jobs: int = 0
    """Those of known weight."""
    milliseconds: int = 0
    """Their weight."""
    done: int = 0
    """Their milliseconds times thousandths of a percent."""
    unknown: int = 0
    """Jobs of unknown weight."""
    unknown_done: int = 0
    """Their thousandths of a percent."""

    def add(self, weight: int | None, done: int, times: int = 1) -> None:
        """Take in a job, or out with `times` -1: its milliseconds, None if unknown, and thousandths of a percent."""
        if weight is None:
            self.unknown += times
            self.unknown_done += times * done
        elif weight > 0:
            self.jobs += times
            self.milliseconds += times * weight
            self.done += times * weight * done

    @property
    def percent(self) -> float:
        """How much is done; of no work at all, everything."""
        if self.jobs:
            done = self.done * self.jobs + self.milliseconds * self.unknown_done
            return done / (self.milliseconds * (self.jobs + self.unknown)) / (_WHOLE / 100)
        return self.unknown_done / self.unknown / (_WHOLE / 100) if self.unknown else 100.0


@dataclass(frozen=True, slots=True)
class _Job:
    status: ProgressStatus
    server: str | None
    ended: bool
    weight: int | None
    done: int
    awaited: bool
    """Whether its end is one of those that make the end of the batch: a completing job has nothing left to do."""
    end: datetime | None
    """When it should end; None if that is not known or it is not awaited."""


class Batch:
    """Adds up jobs as they come, change and end, so that a change costs the same however many jobs there are."""

    def __init__(self) -> None:
        self.open = 0
        """Jobs that have not ended."""
        self.work = Work()
        self.counts: Counter[ProgressStatus] = Counter()
        self.by_server: dict[str, Counter[ProgressStatus]] = {}
        """The counts again, of the jobs of each server."""
        self._jobs: dict[str, _Job] = {}
        self._awaited = 0
        self._estimated = 0
        self._ends: list[tuple[float, str]] = []
        """A heap, the latest first, of (minus Unix time, run_id); what is outdated in it is found when it comes up."""
        self._highest = 0.0

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._jobs

    def __len__(self) -> int:
        """Give how many of its jobs are in memory."""
        return len(self._jobs)

    def status_of(self, run_id: str) -> ProgressStatus | None:
        """Give the status that a job was last put with."""
        job = self._jobs.get(run_id)
        return None if job is None else job.status

    def put(self, update: ProgressUpdate, seconds: float | None) -> bool:
        """Take in how a job is now, and its estimated seconds from start to end; whether something differs."""
        before = self._jobs.get(update.run_id)
        awaited = not update.terminal and update.status is not ProgressStatus.COMPLETING
        job = _Job(
            update.status,
            update.server,
            update.terminal,
            _weight(None if before is None else before.weight, update, seconds),
            _WHOLE if update.terminal else round(update.progress_percent * (_WHOLE / 100)),
            awaited,
            update.estimated_completion if awaited else None,
        )
        if job == before:
            return False
        if before is None:
            # More work than there was: the percent may fall.
            self._highest = 0.0
        else:
            self._sum(before, -1)
        self._jobs[update.run_id] = job
        self._sum(job, 1)
        if job.end is not None and (before is None or before.end != job.end):
            self._expect(update.run_id, job.end)
        return True

    def drop(self, run_id: str) -> None:
        """Take out a job as if it had never been there."""
        self._sum(self._jobs.pop(run_id), -1)

    def forget(self, run_id: str) -> None:
        """Let go of a job that left memory; one that ended stays in all sums."""
        if self._jobs[run_id].ended:
            del self._jobs[run_id]
        else:
            self.drop(run_id)

    def add_ended(self, counts: Mapping[ProgressStatus, int], seconds: float, timed: int, server: str | None) -> None:
        """Take in jobs that ended and are not in memory; `timed` of them took `seconds`, the others weigh nothing."""
        self._highest = 0.0
        if timed > 0:
            milliseconds = max(timed * _SHORTEST, round(seconds * 1000))
            self.work.jobs += timed
            self.work.milliseconds += milliseconds
            self.work.done += milliseconds * _WHOLE
        for status, count in counts.items():
            self._count(status, server, count)

    def update(self, batch_id: str) -> BatchUpdate:
        """Describe it. What it says of the percent once, it takes back only when jobs are added."""
        percent = round(self.work.percent, 1)
        self._highest = max(self._highest, min(percent, _HIGHEST_UNFINISHED) if self.open else 100.0)
        return BatchUpdate(batch_id, self.counts.total(), dict(self.counts), self._highest, self._latest())

    def _sum(self, job: _Job, times: int) -> None:
        self.work.add(job.weight, job.done, times)
        self._count(job.status, job.server, times)
        if not job.ended:
            self.open += times
        self._awaited += times * job.awaited
        self._estimated += times * (job.end is not None)

    def _count(self, status: ProgressStatus, server: str | None, times: int) -> None:
        _add(self.counts, status, times)
        if server is not None:
            counts = self.by_server.setdefault(server, Counter())
            _add(counts, status, times)
            if not counts:
                del self.by_server[server]

    def _latest(self) -> datetime | None:
        """Give when the last job will be done; None if that is not known of each."""
        if self._estimated < self._awaited:
            return None
        while self._ends:
            minus, run_id = self._ends[0]
            job = self._jobs.get(run_id)
            if job is not None and job.end is not None and job.end.timestamp() == -minus:
                return job.end
            heappop(self._ends)
        return None

    def _expect(self, run_id: str, end: datetime) -> None:
        heappush(self._ends, (-end.timestamp(), run_id))
        if len(self._ends) > 2 * self._estimated + _SPARE_ENDS:
            self._ends = [(-job.end.timestamp(), run_id) for run_id, job in self._jobs.items() if job.end is not None]
            heapify(self._ends)


def _weight(before: int | None, update: ProgressUpdate, seconds: float | None) -> int | None:
    """Give a job's milliseconds: what it took, else what it should take, else what it had; None if unknown."""
    if update.terminal:
        if update.generation_time is not None:
            return max(_SHORTEST, round(update.generation_time * 1000))
        if update.status is ProgressStatus.CANCELLED and update.started_at is None:
            return 0  # It never ran: nobody's time went into it.
        return before
    return before if seconds is None else max(_SHORTEST, round(seconds * 1000))


def _add(counts: Counter[ProgressStatus], status: ProgressStatus, times: int) -> None:
    counts[status] += times
    if not counts[status]:
        del counts[status]
