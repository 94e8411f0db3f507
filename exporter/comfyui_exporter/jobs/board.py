"""The newest of every job, server and batch, for whoever shows or asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from comfyui_exporter.jobs.batches import Batches
from comfyui_exporter.jobs.describe import Describe
from comfyui_exporter.jobs.statistics import Statistics
from comfyui_exporter.jobs.update import BatchUpdate, NodeDetail, ProgressStatus, ProgressUpdate, ServerUpdate
from comfyui_exporter.tracker.estimate import Forecast
from comfyui_exporter.tracker.observations import SystemStats
from comfyui_exporter.tracker.progress import NodeReport
from comfyui_exporter.tracker.registration import Registration
from comfyui_exporter.tracker.runs import Run
from comfyui_exporter.tracker.sink import Sink
from comfyui_exporter.tracker.transitions import (
    Changed,
    Ended,
    Forgotten,
    NodeTimed,
    Progressed,
    Started,
    Submitted,
    TimedOut,
    Transition,
)
from comfyui_exporter.tracker.view import ServerView

LOOK_AGAIN = 5.0
"""Seconds between updates of a job of which nothing but estimate or place changed."""

MOST_LOOKED_AT = 250
"""Such jobs of a server at a time, and as many whose place or estimate is new: some 10 ms. Others wait their turn."""


class Reader:
    """Is told what changed; must return at once and raise nothing.

    It has methods for what it cares about, and passes over the rest.
    """

    def job(self, update: ProgressUpdate) -> None:
        """How a job is now."""

    def removed(self, run_id: str) -> None:
        """A job left memory."""

    def batch(self, update: BatchUpdate) -> None:
        """How a batch is now."""

    def batch_removed(self, batch_id: str) -> None:
        """The last job of a batch left memory."""

    def server(self, update: ServerUpdate) -> None:
        """How a server is now."""

    def server_removed(self, name: str) -> None:
        """A server is not watched any more."""


@dataclass(slots=True)
class _Entry:
    server: str | None
    run: Run | None
    """None while it was registered and not seen."""
    update: ProgressUpdate
    told_at: float
    place: int = 0
    """Counts up in the order in which jobs were first seen."""
    registration: Registration | None = None
    """What was registered, while no run is there that has it."""

    @property
    def webhook_url(self) -> str | None:
        registration = self.registration if self.run is None else self.run.registration
        return None if registration is None else registration.webhook_url


class JobBoard(Sink):
    """Turns what watching tells into updates, keeps the newest of each run, and tells readers what differs.

    `wall` turns a point in time of the observations into Unix time; `title` a failure pattern into words.
    """

    def __init__(
        self, wall: Callable[[float], float], title: Callable[[str], str], job_labels: Sequence[str] = ()
    ) -> None:
        self.describe = Describe(wall, job_labels)
        self._readers: list[Reader] = []
        self._entries: dict[str, _Entry] = {}
        self._places = 0
        self._by_prompt: dict[str, dict[str, None]] = {}
        self._by_job: dict[str, dict[str, None]] = {}
        self._by_server: dict[str, dict[str, None]] = {}
        self._forecasts: dict[str, Forecast] = {}
        self._servers: dict[str, ServerUpdate] = {}
        self._systems: dict[str, SystemStats] = {}
        self._batches = Batches()
        self.statistics = Statistics(title)
        self.nodes: Callable[[str, Run], tuple[NodeReport, ...]] = lambda _server, _run: ()
        """Gives the nodes of a run of a server."""

    def add_reader(self, reader: Reader) -> None:
        """Tell this one from now on, beginning with what is there."""
        self._readers.append(reader)
        for server in self._servers.values():
            reader.server(server)
        for entry in self._entries.values():
            reader.job(entry.update)
        for batch in self._batches.all():
            reader.batch(batch)

    def remove_reader(self, reader: Reader) -> None:
        """Tell this one no more."""
        self._readers.remove(reader)

    # What is known

    @property
    def servers(self) -> Iterable[ServerUpdate]:
        """Every server that is watched."""
        return self._servers.values()

    def system(self, server: str) -> SystemStats | None:
        """Give the memory and versions of a server; None while they are not known. Readers are not told of them."""
        return self._systems.get(server)

    @property
    def jobs(self) -> Iterator[ProgressUpdate]:
        """Every job in memory, in the order in which they were first seen."""
        return (entry.update for entry in self._entries.values())

    def page(
        self, matches: Callable[[ProgressUpdate], bool], limit: int, before: int | None = None
    ) -> list[tuple[int, ProgressUpdate]]:
        """Give so many jobs with their places, newest first, of those whose place is lower than `before`."""
        found: list[tuple[int, ProgressUpdate]] = []
        for entry in reversed(self._entries.values()):
            if len(found) == limit:
                break
            if (before is None or entry.place < before) and matches(entry.update):
                found.append((entry.place, entry.update))
        return found

    def batch(self, batch_id: str) -> BatchUpdate | None:
        """Give a batch; None if none of its jobs is in memory."""
        return self._batches.get(batch_id)

    @property
    def active_batches(self) -> Iterator[str]:
        """The ids of the batches with a job that has not ended."""
        return self._batches.active

    def batches_on(self, server: str) -> Iterator[tuple[str, Mapping[ProgressStatus, int]]]:
        """Give the active batches with jobs on a server, the newest first, and the counts of these jobs by status."""
        return self._batches.active_on(server)

    def restore_batch(
        self,
        batch_id: str,
        counts: Mapping[ProgressStatus, int],
        seconds: float,
        *,
        timed: int | None = None,
        server: str | None = None,
    ) -> None:
        """Take in jobs of a batch that ended before we started and are not in memory; see `Batches.restore`."""
        self._batches.restore(batch_id, counts, seconds, timed=timed, server=server)

    def get(self, run_id: str) -> ProgressUpdate | None:
        """Give the newest of a run; None if it is not in memory."""
        entry = self._entries.get(run_id)
        return None if entry is None else entry.update

    def find(self, *, job_id: int | str | None = None, prompt_id: str | None = None) -> ProgressUpdate | None:
        """Give the newest run of a job; None if there is none."""
        run_id = self._newest(job_id, prompt_id)
        return None if run_id is None else self._entries[run_id].update

    def webhook_of(self, run_id: str) -> str | None:
        """Give the URL that was registered to be called for a run; updates don't have it, as it may be a secret."""
        entry = self._entries.get(run_id)
        return None if entry is None else entry.webhook_url

    def find_nodes(self, update: ProgressUpdate) -> tuple[NodeDetail, ...]:
        """Give the nodes of a job as far as they are known."""
        entry = self._entries.get(update.run_id)
        if entry is None or entry.run is None or entry.server is None:
            return ()
        return tuple(
            NodeDetail(node.node_id, node.node_type, node.state, node.value, node.max, node.seconds)
            for node in self.nodes(entry.server, entry.run)
        )

    def _newest(self, job_id: int | str | None, prompt_id: str | None) -> str | None:
        found = self._by_job.get(str(job_id)) if job_id is not None else self._by_prompt.get(prompt_id or "")
        run_ids = [run_id for run_id in found or () if self._matches(run_id, prompt_id)]
        return run_ids[-1] if run_ids else None

    def _matches(self, run_id: str, prompt_id: str | None) -> bool:
        return prompt_id is None or self._entries[run_id].update.comfyui_prompt_id == prompt_id

    # What watching tells

    def transitions(self, server: str, changes: Sequence[Transition]) -> None:
        """Take in what happened."""
        for change in changes:
            match change:
                case Submitted() | Started() | Changed() | Progressed() | TimedOut() | Ended():
                    if isinstance(change, Ended):
                        self.statistics.ended(change.run)
                    if change.run.detailed:
                        self._put_run(server, change.run, change.at)
                case Forgotten():
                    self._remove(change.run.run_id)
                case NodeTimed():
                    self.statistics.timed(change.timed)
                case _:
                    pass

    def view(self, server: str, view: ServerView, at: float) -> None:
        """Take in how a server is now; jobs of which only the estimate changed are told now and then."""
        self._forecasts[server] = view.forecast
        if view.stats is None or view.up is False:
            self._systems.pop(server, None)
        else:
            self._systems[server] = view.stats
        drain = view.forecast.drain_seconds
        update = ServerUpdate(
            server, view.up, view.running, view.pending, None if drain is None or view.up is False else round(drain, 1)
        )
        if update != self._servers.get(server):
            self._servers[server] = update
            for reader in self._readers:
                reader.server(update)
        self._look_again(server, view, at)
        for batch in self._batches.due(at):
            self._tell_batch(batch)

    def _look_again(self, server: str, view: ServerView, at: float) -> None:
        """Tell what only time or the forecast changed, of the first jobs of the queue first."""
        lacking = late = MOST_LOOKED_AT
        for run in view.open_runs:
            entry = self._entries.get(run.run_id)
            if entry is None:
                continue
            if _lacks(entry.update, run, view.forecast):
                if lacking:
                    lacking -= 1
                    self._put_run(server, run, at)
            elif late and at - entry.told_at >= LOOK_AGAIN:
                late -= 1
                self._put_run(server, run, at)

    def add_server(self, server: str) -> None:
        """A server is watched from now on; nothing is known of it yet."""
        if server not in self._servers:
            update = self._servers[server] = ServerUpdate(server, None, None, None, None)
            for reader in self._readers:
                reader.server(update)

    def remove_server(self, server: str) -> None:
        """A server is not watched any more: its jobs go."""
        for run_id in tuple(self._by_server.get(server, ())):
            self._remove(run_id)
        self._batches.remove_server(server)
        self._forecasts.pop(server, None)
        self._systems.pop(server, None)
        if self._servers.pop(server, None) is not None:
            for reader in self._readers:
                reader.server_removed(server)

    def restore(self, server: str, runs: Iterable[Run], at: float) -> None:
        """Show runs that were known before we were restarted."""
        for run in runs:
            if run.detailed:
                self._put_run(server, run, at if run.ended_at is None else run.ended_at)

    # Registered jobs

    def registered(self, registration: Registration, at: float, status: ProgressStatus) -> None:
        """Show a job that no server has shown yet."""
        update = self.describe.registered(registration, status, at)
        self._put(_Entry(registration.server, None, update, at, registration=registration), at)

    def unregistered(self, registration: Registration) -> None:
        """Forget a registered job that never came."""
        entry = self._entries.get(registration.run_id)
        if entry is not None and entry.run is None:
            self._remove(registration.run_id)

    # Keeping

    def _put_run(self, server: str, run: Run, at: float) -> None:
        forecast = self._forecasts.get(server) or Forecast()
        update = self.describe(server, run, forecast, at)
        seconds = forecast.seconds.get(run.run_id)
        entry = _Entry(server, run, update, at)
        before = self._entries.get(run.run_id)
        if (
            before is not None
            and replace(update, updated_at=before.update.updated_at) == before.update
            and before.webhook_url == entry.webhook_url
        ):
            before.run, before.told_at = run, at
            self._put_in_batch(update, at, seconds)
            return
        self._put(entry, at, seconds)

    def _put(self, entry: _Entry, at: float, seconds: float | None = None) -> None:
        update = entry.update
        before = self._entries.get(update.run_id)
        if before is not None and before.update.job_id != update.job_id:
            self._unindex(self._by_job, before.update.job_id, update.run_id)
        if before is not None and before.server != entry.server:
            self._unindex(self._by_server, before.server, update.run_id)
        if before is None:
            self._places += 1
        entry.place = self._places if before is None else before.place
        self._entries[update.run_id] = entry
        self._by_prompt.setdefault(update.comfyui_prompt_id, {})[update.run_id] = None
        if update.job_id is not None:
            self._by_job.setdefault(str(update.job_id), {})[update.run_id] = None
        if entry.server is not None:
            self._by_server.setdefault(entry.server, {})[update.run_id] = None
        for reader in self._readers:
            reader.job(update)
        if before is not None and before.update.batch_id != update.batch_id:
            self._tell_batch_removed(self._batches.leave(before.update))
        self._put_in_batch(update, at, seconds)

    def _put_in_batch(self, update: ProgressUpdate, at: float, seconds: float | None) -> None:
        if (batch := self._batches.put(update, at, seconds)) is not None:
            self._tell_batch(batch)

    def _remove(self, run_id: str) -> None:
        entry = self._entries.pop(run_id, None)
        if entry is None:
            return
        self._unindex(self._by_prompt, entry.update.comfyui_prompt_id, run_id)
        self._unindex(self._by_job, entry.update.job_id, run_id)
        self._unindex(self._by_server, entry.server, run_id)
        for reader in self._readers:
            reader.removed(run_id)
        self._tell_batch_removed(self._batches.remove(entry.update))

    @staticmethod
    def _unindex(index: dict[str, dict[str, None]], key: int | str | None, run_id: str) -> None:
        if key is None or (run_ids := index.get(str(key))) is None:
            return
        run_ids.pop(run_id, None)
        if not run_ids:
            del index[str(key)]

    def _tell_batch(self, batch: BatchUpdate) -> None:
        for reader in self._readers:
            reader.batch(batch)

    def _tell_batch_removed(self, batch_id: str | None) -> None:
        if batch_id is not None:
            for reader in self._readers:
                reader.batch_removed(batch_id)


def _lacks(update: ProgressUpdate, run: Run, forecast: Forecast) -> bool:
    """Whether an update was told before its place or its estimate was known."""
    return (update.queue_position is None and run.run_id in forecast.positions) or (
        update.estimated_completion is None and run.run_id in forecast.ends
    )
