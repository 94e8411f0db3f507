"""Batches: jobs that were submitted with one batch_id, and how far they are together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from comfyui_exporter.jobs.batch import Batch
from comfyui_exporter.jobs.update import BatchUpdate, ProgressStatus, ProgressUpdate

TELL_EVERY = 1.0
"""Seconds between updates of a batch in which nothing but percents changed."""
KEEP_RESTORED = 3600.0
"""Seconds for which what was restored of a batch waits for one of its jobs: its server may be away for a while, and
tomorrow's batch of the same name is another one."""


@dataclass(slots=True)
class _Known:
    batch: Batch = field(default_factory=Batch)
    told_at: float = float("-inf")
    shown_on: set[str] = field(default_factory=set)
    """The servers with jobs of it, while it is active."""


@dataclass(slots=True)
class _Restored:
    batch: Batch = field(default_factory=Batch)
    since: float | None = None
    """When it was first seen to have no jobs."""


class Batches:
    """Keeps each batch as long as one of its jobs is in memory. It is active while one of them has not ended."""

    def __init__(self) -> None:
        self._batches: dict[str, _Known] = {}
        self._changed: dict[str, None] = {}
        self._restored: dict[str, _Restored] = {}
        self._active: dict[str, dict[str, Batch]] = {}
        """The active batches with jobs of a server, in the order in which they became so."""

    def put(self, update: ProgressUpdate, at: float, seconds: float | None = None) -> BatchUpdate | None:
        """Take in a job (`leave` another batch first), and give its batch if that must be told at once.

        `seconds` is how long the job should take from start to end; None leaves what was said before.
        """
        batch_id = update.batch_id
        if batch_id is None:
            return None
        known = self._batches.get(batch_id)
        if known is None:
            restored = self._restored.pop(batch_id, None)
            known = self._batches[batch_id] = _Known() if restored is None else _Known(restored.batch)
        batch = known.batch
        moved = batch.status_of(update.run_id) is not update.status
        if batch.put(update, seconds):
            self._changed[batch_id] = None
            self._index(batch_id, known)
        if moved or (batch_id in self._changed and at - known.told_at >= TELL_EVERY):
            return self._told(batch_id, known, at)
        return None

    def due(self, at: float) -> Iterator[BatchUpdate]:
        """Give the batches that changed and were not told of for a while."""
        self._expire(at)
        for batch_id in list(self._changed):
            known = self._batches[batch_id]
            if at - known.told_at >= TELL_EVERY:
                yield self._told(batch_id, known, at)

    def remove(self, update: ProgressUpdate) -> str | None:
        """Let go of a job that left memory; the batch_id if it was the last one of its batch.

        One that ended goes on to count in its batch.
        """
        return self._remove(update, as_if_never_there=False)

    def leave(self, update: ProgressUpdate) -> str | None:
        """Take a job out that belongs to another batch now; the batch_id if it was the last one of its batch."""
        return self._remove(update, as_if_never_there=True)

    def restore(
        self,
        batch_id: str,
        counts: Mapping[ProgressStatus, int],
        seconds: float,
        *,
        timed: int | None = None,
        server: str | None = None,
    ) -> None:
        """Take in jobs of a batch that ended before and are not in memory, once for each server they were on.

        `seconds` is what `timed` of them took together, by default all; the others weigh nothing. Without a job in
        memory there is no such batch: then this waits for `KEEP_RESTORED`.
        """
        known = self._batches.get(batch_id)
        batch = self._restored.setdefault(batch_id, _Restored()).batch if known is None else known.batch
        batch.add_ended(counts, seconds, sum(counts.values()) if timed is None else timed, server)
        if known is not None:
            self._changed[batch_id] = None
            self._index(batch_id, known)

    def remove_server(self, server: str) -> None:
        """Forget which jobs were on a server, after they left memory."""
        self._active.pop(server, None)
        for known in self._batches.values():
            known.batch.by_server.pop(server, None)
            known.shown_on.discard(server)
        for restored in self._restored.values():
            restored.batch.by_server.pop(server, None)

    def get(self, batch_id: str) -> BatchUpdate | None:
        """Give a batch; None if there is none."""
        known = self._batches.get(batch_id)
        return None if known is None else known.batch.update(batch_id)

    def all(self) -> Iterator[BatchUpdate]:
        """Give every batch."""
        return (known.batch.update(batch_id) for batch_id, known in self._batches.items())

    @property
    def active(self) -> Iterator[str]:
        """The ids of the batches with a job that has not ended."""
        return (batch_id for batch_id, known in self._batches.items() if known.batch.open)

    def active_on(self, server: str) -> Iterator[tuple[str, Mapping[ProgressStatus, int]]]:
        """Give the active batches with jobs of a server, the one that became so last first, with the counts of these.

        Jobs that nobody has seen on a server yet are in none.
        """
        for batch_id, batch in reversed(self._active.get(server, {}).items()):
            yield batch_id, batch.by_server[server]

    def _told(self, batch_id: str, known: _Known, at: float) -> BatchUpdate:
        known.told_at = at
        self._changed.pop(batch_id, None)
        return known.batch.update(batch_id)

    def _remove(self, update: ProgressUpdate, *, as_if_never_there: bool) -> str | None:
        batch_id = update.batch_id
        known = None if batch_id is None else self._batches.get(batch_id)
        if batch_id is None or known is None or update.run_id not in known.batch:
            return None
        batch = known.batch
        if as_if_never_there or not update.terminal:
            batch.drop(update.run_id)
            self._changed[batch_id] = None
        else:
            batch.forget(update.run_id)
        self._index(batch_id, known)
        if len(batch):
            return None
        del self._batches[batch_id]
        self._changed.pop(batch_id, None)
        return batch_id

    def _index(self, batch_id: str, known: _Known) -> None:
        batch = known.batch
        servers = batch.by_server.keys() if batch.open else set[str]()
        if servers == known.shown_on:
            return
        for server in known.shown_on - servers:
            del self._active[server][batch_id]
            if not self._active[server]:
                del self._active[server]
        for server in servers - known.shown_on:
            self._active.setdefault(server, {})[batch_id] = batch
        known.shown_on = set(servers)

    def _expire(self, at: float) -> None:
        for batch_id, restored in list(self._restored.items()):
            if restored.since is None:
                restored.since = at
            elif at - restored.since >= KEEP_RESTORED:
                del self._restored[batch_id]
