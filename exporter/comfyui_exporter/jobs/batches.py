"""Batches: jobs that were submitted with one batch_id, and how far they are together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from comfyui_exporter.jobs.update import BatchUpdate, ProgressUpdate

TELL_EVERY = 1.0
"""Seconds between updates of a batch in which nothing but percents changed."""


@dataclass(slots=True)
class _Batch:
    jobs: dict[str, ProgressUpdate] = field(default_factory=dict)
    told_at: float = float("-inf")
    changed: bool = False


class Batches:
    """Keeps the jobs of each batch."""

    def __init__(self) -> None:
        self._batches: dict[str, _Batch] = {}

    def put(self, before: ProgressUpdate | None, update: ProgressUpdate, at: float) -> Iterator[BatchUpdate]:
        """Take in a job (`remove` it first from another batch), and give the batch if that must be told at once."""
        if update.batch_id is None:
            return
        batch = self._batches.setdefault(update.batch_id, _Batch())
        batch.jobs[update.run_id] = update
        batch.changed = True
        moved = before is None or before.status is not update.status
        if moved or at - batch.told_at >= TELL_EVERY:
            yield self._told(update.batch_id, batch, at)

    def due(self, at: float) -> Iterator[BatchUpdate]:
        """Give the batches that changed and were not told of for a while."""
        for batch_id, batch in self._batches.items():
            if batch.changed and at - batch.told_at >= TELL_EVERY:
                yield self._told(batch_id, batch, at)

    def _told(self, batch_id: str, batch: _Batch, at: float) -> BatchUpdate:
        batch.told_at, batch.changed = at, False
        return _update(batch_id, batch)

    def remove(self, update: ProgressUpdate) -> str | None:
        """Forget a job; the batch_id if it was the last one of its batch."""
        batch = self._batches.get(update.batch_id or "")
        if batch is None or update.batch_id is None:
            return None
        batch.jobs.pop(update.run_id, None)
        batch.changed = True
        if batch.jobs:
            return None
        del self._batches[update.batch_id]
        return update.batch_id

    def get(self, batch_id: str) -> BatchUpdate | None:
        """Give a batch; None if there is none."""
        batch = self._batches.get(batch_id)
        return None if batch is None else _update(batch_id, batch)

    def all(self) -> Iterator[BatchUpdate]:
        """Give every batch."""
        return (_update(batch_id, batch) for batch_id, batch in self._batches.items())


def _update(batch_id: str, batch: _Batch) -> BatchUpdate:
    jobs = batch.jobs.values()
    open_jobs = [job for job in jobs if not job.terminal]
    ends = [job.estimated_completion for job in open_jobs if job.estimated_completion is not None]
    percents = sum(100.0 if job.terminal else job.progress_percent for job in jobs)
    return BatchUpdate(
        batch_id,
        len(jobs),
        dict(Counter(job.status for job in jobs)),
        round(percents / len(jobs), 1),
        max(ends) if ends and len(ends) == len(open_jobs) else None,
    )
