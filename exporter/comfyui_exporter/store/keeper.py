"""The store of one Monitor: opened, restored from, kept up to date and closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from comfyui_exporter.jobs.board import JobBoard
from comfyui_exporter.metrics.lasting import Lasting
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.store.database import Database, open_database
from comfyui_exporter.store.errors import BadRowsError, StoreAwayError, StoreLostError, StoreRefusedError
from comfyui_exporter.store.history import LogHistory
from comfyui_exporter.store.log import JobLog
from comfyui_exporter.store.restore import Restore
from comfyui_exporter.store.retention import retain
from comfyui_exporter.store.rows import RunRows

if TYPE_CHECKING:
    from comfyui_exporter.store.alerts import StoredAlerts
    from comfyui_exporter.store.outbox import StoredOutbox

log = logging.getLogger("comfyui_exporter.store")

RETAIN_EVERY = 3600.0
_BETWEEN_CHUNKS = 0.5
"""Seconds in which others get to write while old rows are deleted."""


class Keeper:
    """All that a Monitor needs of a store."""

    def __init__(self, database: Database, rows: RunRows, restore: Restore, job_log: JobLog) -> None:
        self.database = database
        self.rows = rows
        self.restore = restore
        self.log = job_log
        self._retaining: asyncio.Task[None] | None = None

    def start(self, retention: float, unix: Callable[[], float], servers: Callable[[], Iterable[str]]) -> None:
        """Begin to commit, and to let rows go `retention` seconds after the end of their run."""
        self.log.start()
        self._retaining = asyncio.create_task(self._retain(retention, unix, servers), name="retention")

    async def close(self) -> None:
        """Commit what waits and close."""
        if self._retaining is not None:
            self._retaining.cancel()
            await asyncio.gather(self._retaining, return_exceptions=True)
        await self.log.close()
        await self.database.close()

    async def abandon(self) -> None:
        """Close, and write nothing any more."""
        await self.database.close()

    async def restore_batches(self, board: JobBoard, servers: Sequence[str] | None = None) -> None:
        """Let batches with open jobs count those that ended and left memory; of these servers, or of all.

        Raises:
            StoreAwayError: they cannot be read.
        """
        batch_ids = list(board.active_batches)
        found = await self.restore.ended_of_batches(batch_ids, servers, lambda run_id: board.get(run_id) is None)
        for (batch_id, server), ended in found.items():
            board.restore_batch(batch_id, ended.counts, ended.seconds, timed=ended.timed, server=server)

    def outbox(self) -> StoredOutbox:
        """Give the place where webhooks wait."""
        # Imported for those who have webhooks.
        from comfyui_exporter.store.outbox import StoredOutbox  # noqa: PLC0415

        return StoredOutbox(self.database, self.log)

    def alerts(self, wall: Callable[[float], float], stamp: Callable[[float], float]) -> StoredAlerts:
        """Give the place where alerts are kept; `wall` turns our time into Unix time, `stamp` does the reverse."""
        # Imported for those who have an inbox.
        from comfyui_exporter.store.alerts import StoredAlerts  # noqa: PLC0415

        return StoredAlerts(self.database, self.log, wall, stamp)

    def history(self, board: JobBoard) -> LogHistory:
        """Give the jobs of now and of the past."""
        return LogHistory(self.database, self.log, self.rows, board)

    async def _retain(self, retention: float, unix: Callable[[], float], servers: Callable[[], Iterable[str]]) -> None:
        while True:
            try:
                deleted = await retain(self.database, unix() - retention, tuple(servers()))
            except (StoreAwayError, StoreLostError, BadRowsError) as error:
                log.info("old rows could not be deleted: %s", error)
                deleted = 0
            await asyncio.sleep(_BETWEEN_CHUNKS if deleted else RETAIN_EVERY)


async def open_keeper(
    url: str,
    *,
    wall: Callable[[float], float],
    stamp: Callable[[float], float],
    job_labels: tuple[str, ...],
    lasting: Lasting,
    metrics: MetricStore,
) -> Keeper:
    """Open a store by its URL.

    Raises:
        StoreRefusedError: it cannot be used, and the message says why.
    """
    database = await open_database(url)
    rows = RunRows(wall, stamp, job_labels)
    restore = Restore(database, rows, stamp)
    try:
        next_seq = await restore.next_seq()
    except StoreAwayError as error:
        await database.close()
        raise StoreRefusedError(str(error)) from error
    job_log = JobLog(database, rows, lasting, metrics, wall, next_seq)
    return Keeper(database, rows, restore, job_log)
