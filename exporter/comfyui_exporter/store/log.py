"""The job log as a sink: collects what is to be kept, and commits it in batches.

Counters are shown, and webhooks sent, only after the commit that wrote them. So what anybody was shown is never taken
back by a crash: what was not committed nobody saw, and ComfyUI's history still has it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from comfyui_exporter.jobs.update import ProgressStatus
from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.lasting import Count, Lasting, Series
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.store.batch import Batch, Row
from comfyui_exporter.store.database import Database
from comfyui_exporter.store.errors import BadRowsError, StoreAwayError, StoreLostError
from comfyui_exporter.store.marks import entry_row, mark_row
from comfyui_exporter.store.rows import RunRows
from comfyui_exporter.store.totals import total_row
from comfyui_exporter.tracker.memory import Mark
from comfyui_exporter.tracker.registration import Registration
from comfyui_exporter.tracker.runs import Run
from comfyui_exporter.tracker.sink import Sink
from comfyui_exporter.tracker.tracker import Tracker
from comfyui_exporter.tracker.transitions import Forgotten, NodeTimed, Progressed, Transition
from comfyui_exporter.tracker.view import ServerView

log = logging.getLogger("comfyui_exporter.store")

BATCH_SECONDS = 0.25
"""A commit waits at most so long for more; a job's end is seen by a scrape so much later."""

MOST_ROWS = 10_000
"""Rows that wait while the store is away; counts wait in any number, being bounded by their kind."""

PROGRESS_EVERY = 5.0
"""Seconds between commits for nothing but the progress of a server's runs."""

_FIRST_RETRY, _LAST_RETRY = 0.25, 15.0


class JobLog(Sink):
    """Commits what it is told until closed.

    `wall` turns a point in time of the observations into Unix time; rows are numbered from `next_seq` on.
    """

    def __init__(
        self,
        database: Database,
        rows: RunRows,
        lasting: Lasting,
        metrics: MetricStore,
        wall: Callable[[float], float],
        next_seq: int = 1,
    ) -> None:
        self._database = database
        self._rows = rows
        self._lasting = lasting
        self._metrics = metrics
        self._seq = next_seq
        self._wall = wall
        self._trackers: dict[str, Tracker] = {}
        self._marks: dict[str, Mark | None] = {}
        """As they were taken last."""
        self._progress_at: dict[str, float] = {}
        """When a commit was last asked for because a run of this server came further."""
        self._progressed = set[str]()
        """Servers on which progress is to be written."""
        self._told = Batch()
        """What is to be written and is a row already."""
        self._unwritten = Batch()
        """What could not be written yet."""
        self._standing = set[str]()
        """Runs whose row in the store says that they have not ended."""
        self._dirty = asyncio.Event()
        self._hurry = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._lost = False
        self.after_commit: list[Callable[[Batch], None]] = []
        """Called after each commit with what it wrote."""
        metrics.touch(families.STORE_ERRORS, None)
        metrics.set(families.STORE_DEGRADED, None, (), 0)
        metrics.set(families.STORE_BUFFERED_JOBS, None, (), 0)

    def start(self) -> None:
        """Begin to commit; needs a running loop."""
        self._dirty.set()  # what stands at 0 from the start was counted before
        self._task = asyncio.create_task(self._run(), name="job log")

    async def close(self, patience: float = 5.0) -> None:
        """Commit what waits, if that can be done within so many seconds, and stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        try:
            async with asyncio.timeout(patience):
                await self.commit()
        except TimeoutError:
            log.warning("the store did not take the last changes in time")
        for waiting in self._waiting:
            waiting.cancel()

    # What is told

    def watch(self, server: str, tracker: Tracker) -> None:
        """Keep what happens on this server from now on; what its tracker knows already is kept."""
        self._let_go(server)
        tracker.record()
        self._trackers[server] = tracker
        self._marks[server] = tracker.mark
        self._standing.update(run.run_id for run in tracker.open_runs)

    def forget(self, server: str) -> None:
        """A server is not watched any more; what its tracker knows and what was counted is kept."""
        self._let_go(server)
        self._take_counts(self._lasting.take(server), self._told)
        self._progress_at.pop(server, None)
        self._progressed.discard(server)

    def _let_go(self, server: str) -> None:
        if server in self._trackers:
            self._take_changes(server, self._trackers[server], self._told)
            self._dirty.set()
        self._trackers.pop(server, None)
        self._marks.pop(server, None)

    def transitions(self, server: str, changes: Sequence[Transition]) -> None:
        """Something happened, and the tracker knows what."""
        for change in changes:
            if isinstance(change, Progressed):
                if change.at - self._progress_at.get(server, -PROGRESS_EVERY) < PROGRESS_EVERY:
                    continue
                self._progress_at[server] = change.at
                self._progressed.add(server)
            if not isinstance(change, NodeTimed | Forgotten):
                self._dirty.set()

    def view(self, server: str, view: ServerView, at: float) -> None:  # noqa: ARG002
        """Something may have changed that nobody is told of, as a run of which it is not known what was submitted."""
        tracker = self._trackers.get(server)
        if tracker is not None and (tracker.has_changes or tracker.mark != self._marks[server]):
            self._dirty.set()

    def registered(self, registration: Registration, at: float, status: ProgressStatus) -> None:
        """A job was registered that no server has shown yet."""
        self._add(Batch(runs={registration.run_id: self._rows.registered(registration, at, status, self._next())}))

    def unregistered(self, registration: Registration) -> None:
        """A registration was replaced, or gave way to others."""
        self._add(Batch(gone={registration.run_id}))

    def deliver(self, delivery_id: str, row: Row | None) -> None:
        """A delivery is to be made, or (None) is done with."""
        self._add(Batch(deliveries={delivery_id: row}))

    def alert(self, alert_id: str, row: Row | None) -> None:
        """An alert was heard of, or (None) is over."""
        self._add(Batch(alerts={alert_id: row}))

    def _add(self, batch: Batch) -> None:
        self._told.add(batch)
        self._dirty.set()

    def _next(self) -> int:
        self._seq += 1
        return self._seq - 1

    # Committing

    async def committed(self) -> None:
        """Wait until everything told so far is committed, which is tried at once; for as long as that takes."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._dirty.set()
        self._hurry.set()
        await waiting

    async def commit(self) -> bool:
        """Try to commit what waits; False if the store did not take it."""
        async with self._lock:
            waiting, self._waiting = self._waiting, []
            written: Batch | None = None
            try:
                written = await self._commit()
            finally:
                if written is None:
                    self._waiting = waiting + self._waiting
        if written is None:
            return False
        for one in waiting:
            if not one.done():
                one.set_result(None)
        for told in self.after_commit:
            told(written)
        return True

    async def _run(self) -> None:
        retry = _FIRST_RETRY
        while True:
            await self._dirty.wait()
            await self._pause(BATCH_SECONDS, self._hurry)
            self._hurry.clear()
            self._dirty.clear()
            try:
                done = await self.commit()
            except Exception:
                log.exception("unexpected error")
                self._failed()
                done = False
            if done:
                retry = _FIRST_RETRY
            else:
                self._dirty.set()
                await asyncio.sleep(retry)
                retry = min(2 * retry, _LAST_RETRY)

    @staticmethod
    async def _pause(seconds: float, hurry: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(seconds):
                await hurry.wait()
        except TimeoutError:
            pass

    def _take(self) -> Batch:
        """Take everything that is to be kept, as it stands at this moment: no await may come between its parts."""
        batch, self._told = self._told, Batch()
        for server, tracker in self._trackers.items():
            self._take_changes(server, tracker, batch)
        self._take_counts(self._lasting.take(), batch)
        return batch

    def _take_counts(self, counts: Mapping[Series, Count], batch: Batch) -> None:
        batch.counts.update(counts)
        for series, count in counts.items():
            batch.totals[series] = total_row(series[0], series[1].name, self._lasting.total(series, count))

    def _take_changes(self, server: str, tracker: Tracker, batch: Batch) -> None:
        mark = tracker.mark
        if mark is None:
            return  # nothing is counted before the first look
        due = tracker.has_changes or server in self._progressed
        if due or mark != self._marks[server]:
            self._marks[server] = mark
            batch.servers[server] = mark_row(server, mark, self._wall)
        if due:
            self._progressed.discard(server)
            changes = tracker.take_changes()
            for run_id, run in changes.runs.items():
                self._put_row(server, run, batch)
                batch.gone.discard(run_id)
            for identity, ground in changes.entries.items():
                batch.entries[server, identity] = entry_row(server, identity, self._next(), ground=ground)

    def _put_row(self, server: str, run: Run, batch: Batch) -> None:
        try:
            batch.runs[run.run_id] = self._rows.row(server, run, self._next())
        except Exception:
            # A defect of ours in one row must not cost the counts of all.
            log.exception("a job cannot be written down", extra={"prompt_id": run.prompt_id})
            self._metrics.inc(families.STORE_ERRORS, None)

    async def _commit(self) -> Batch | None:
        """Commit what waits, and give it; None if the store did not take it."""
        batch = self._unwritten
        batch.add(self._take())
        self._unwritten = batch
        if not batch:
            return batch
        if self._lost:
            self._failed()
            return None
        try:
            await self._write(batch)
        except asyncio.CancelledError:
            raise
        except StoreLostError as error:
            self._lost = True
            log.error("%s: nothing more is counted here; stop one of the two", error)
            self._failed()
            return None
        except (StoreAwayError, BadRowsError) as error:
            if self._metrics.get(families.STORE_DEGRADED, None) == 0:
                log.error("the store does not take what happened, job counters stand still: %s", error)
            self._failed()
            return None
        self._unwritten = Batch()
        self._standing -= batch.gone
        for run_id, row in batch.runs.items():
            (self._standing.add if row["ended_at"] is None else self._standing.discard)(run_id)
        self._lasting.show(batch.counts.items())
        if self._metrics.get(families.STORE_DEGRADED, None):
            log.info("the store takes what happened again")
        self._metrics.set(families.STORE_DEGRADED, None, (), 0)
        self._metrics.set(families.STORE_BUFFERED_JOBS, None, (), 0)
        return batch

    async def _write(self, batch: Batch) -> None:
        try:
            await self._database.write(batch)
        except BadRowsError as error:
            # One row that can never be written must not keep all others from being so.
            log.warning("the store refused a batch, its rows are tried one by one: %s", error)
            refused = await self._database.write(batch, one_by_one=True)
            if refused:
                log.error("rows of jobs were refused and are dropped", extra={"jobs": len(refused)})
            self._metrics.inc(families.STORE_ERRORS, None)

    def _failed(self) -> None:
        self._metrics.inc(families.STORE_ERRORS, None)
        self._metrics.set(families.STORE_DEGRADED, None, (), 1)
        dropped = self._unwritten.drop(MOST_ROWS, self._standing)
        if dropped:
            log.warning("too many rows wait for the store, the oldest are dropped", extra={"jobs": dropped})
        self._metrics.set(families.STORE_BUFFERED_JOBS, None, (), len(self._unwritten.runs))
