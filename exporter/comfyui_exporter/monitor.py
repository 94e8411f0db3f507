"""The composition of the whole: one Monitor owns the sinks and the watch of each server."""

from __future__ import annotations

import asyncio
import gc
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from comfyui_exporter.config.changes import without_these
from comfyui_exporter.config.model import Config
from comfyui_exporter.config.servers import ServerConfig
from comfyui_exporter.fanout import Fanout
from comfyui_exporter.fleet import FEW, Breath, Fleet, Understanding, together
from comfyui_exporter.jobs.board import JobBoard
from comfyui_exporter.jobs.history import BoardHistory, JobHistory
from comfyui_exporter.jobs.registrations import Registrations
from comfyui_exporter.jobs.update import ProgressStatus
from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.batches import BatchSink
from comfyui_exporter.metrics.labels import Limits
from comfyui_exporter.metrics.lasting import Lasting
from comfyui_exporter.metrics.sink import MetricSink
from comfyui_exporter.metrics.store import MetricStore, SelfSource
from comfyui_exporter.store.errors import StoreAwayError, StoreRefusedError
from comfyui_exporter.teaching import Teaching
from comfyui_exporter.tracker.progress import NodeReport
from comfyui_exporter.tracker.registration import Registration
from comfyui_exporter.tracker.runs import Run
from comfyui_exporter.tracker.sink import Sink
from comfyui_exporter.tracker.view import ServerView
from comfyui_exporter.watch.clock import Clock
from comfyui_exporter.watch.source import Connector

if TYPE_CHECKING:
    from comfyui_exporter.store.keeper import Keeper
    from comfyui_exporter.store.log import JobLog
    from comfyui_exporter.store.restore import Restored

log = logging.getLogger("comfyui_exporter.monitor")


@contextmanager
def made_to_stay() -> Iterator[None]:
    """For a process that is ours alone: what is made in here is never looked at as garbage.

    Of many servers that are millions of objects. To look through them takes half of the time of a start, and later
    would hold everybody up for hundreds of milliseconds now and then.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class _RegistrationTimeouts(Sink):
    """Tells of registered jobs that no server shows."""

    def __init__(
        self, registrations: Registrations, show: Callable[[Registration, float, ProgressStatus], None]
    ) -> None:
        self._registrations = registrations
        self._show = show

    def view(self, server: str, view: ServerView, at: float) -> None:
        """Count the time in which all servers answer."""
        for registration in self._registrations.seen(server, up=view.up is True, at=at):
            log.warning("no server has shown the registered job", extra={"prompt_id": registration.prompt_id})
            self._show(registration, at, ProgressStatus.TIMEOUT)


class Monitor:
    """Watches every server of a configuration from `start` to `stop`.

    `connectors` are used for the servers of these names, and are left open.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        rng: Random | None = None,
        self_sources: Sequence[SelfSource] = (),
        connectors: Mapping[str, Connector] | None = None,
    ) -> None:
        self._config = config
        self._clock = clock or Clock()
        self._understanding = Understanding(config)
        limits = config.limits
        self.metrics = MetricStore(
            config.buckets.model_dump(),
            config.job_labels,
            Limits(label_values=limits.label_values, family_series=limits.family_series),
            self_sources,
        )
        self._store_url = None if config.store.url == "memory" else config.store.url
        self._lasting = Lasting(self.metrics, deferred=self._store_url is not None)
        self._metric_sink = MetricSink(
            self.metrics,
            self._clock.wall,
            self._understanding.patterns,
            (rule.job_type for rule in config.job_types),
            job_series=limits.job_series,
            failed_series=limits.failed_series,
            lasting=self._lasting,
        )
        self.board = JobBoard(self._clock.wall, self._understanding.title, config.job_labels)
        self.board.nodes = self._nodes_of
        self._registrations = Registrations(config.registration_timeout)
        sinks: list[tuple[str, Sink]] = [
            ("metrics", self._metric_sink),
            ("board", self.board),
            ("batches", BatchSink(self.metrics, self.board.batches_on)),
            ("registrations", _RegistrationTimeouts(self._registrations, self._show_registered)),
        ]
        self._sink = Fanout(sinks, self._sink_failed)
        for name, _ in sinks:
            self.metrics.touch(families.SINK_ERRORS, None, (name,))
        self.keeper: Keeper | None = None
        """The store, once `open` has opened it; None where nothing is kept."""
        self.history: JobHistory = BoardHistory(self.board)
        self._fleet = Fleet(
            config,
            self._understanding,
            self._sink,
            self._registrations,
            self._clock,
            rng or Random(),  # noqa: S311  jitter and client ids, no secrets
            connectors or {},
        )
        self._teaching = Teaching(self._lessons)
        self._restored: dict[str, Restored] = {}
        self._early: list[Registration] = []
        """What was registered before the store was opened."""
        self._was_ready = False

    @property
    def servers(self) -> Iterable[str]:
        """The names of the servers that are watched."""
        return self._fleet.watched

    @property
    def ready(self) -> bool:
        """Whether every server was tried once: its first look is done, or it does not answer."""
        # A server that a reload adds later is no reason to take all others for unready.
        self._was_ready = self._was_ready or all(watch.tried.is_set() for watch in self._fleet.watches)
        return self._was_ready

    @property
    def is_learning(self) -> bool:
        """Whether servers are watched whose jobs of before are still to be learned from."""
        return self._teaching.under_way

    async def first_look(self) -> None:
        """Wait until `ready`."""
        for watch in self._fleet.watches:
            await watch.tried.wait()

    async def open(self) -> None:
        """Open the store, if there is one, and take up what it knows; before `start`.

        Raises:
            StoreRefusedError: it cannot be used, and the message says why.
        """
        if self._store_url is None:
            return
        # SQLAlchemy is loaded by those alone who keep something.
        from comfyui_exporter.store.keeper import open_keeper  # noqa: PLC0415

        clock = self._clock
        self.keeper = await open_keeper(
            self._store_url,
            wall=clock.wall,
            stamp=clock.stamp,
            job_labels=self._config.job_labels,
            lasting=self._lasting,
            metrics=self.metrics,
        )
        self.history = self.keeper.history(self.board)
        self._sink.add("store", self.keeper.log)
        self.metrics.touch(families.SINK_ERRORS, None, ("store",))
        try:
            await self._restore_all(self.keeper)
        except BaseException as error:
            await self.keeper.abandon()
            self._sink.remove("store")
            self.keeper, self.history = None, BoardHistory(self.board)
            if isinstance(error, StoreAwayError | ValueError):
                message = f"what it holds cannot be read: {error}"
                raise StoreRefusedError(message) from error
            raise

    async def _restore_all(self, keeper: Keeper) -> None:
        servers = [server.name for server in self._config.servers]
        await self._restore(keeper, servers)
        if len(servers) <= FEW:
            # That takes no time for which it would be worth to be without estimates.
            await self._teaching.finish(servers)
        for registration, at, status in await keeper.restore.registrations():
            if self._registrations.waiting_for(registration.prompt_id) is not None:
                keeper.log.unregistered(registration)  # it was registered anew before we were opened
                continue
            self._registrations.add(registration, timed_out=status is ProgressStatus.TIMEOUT)
            self.board.registered(registration, at, status)
        await keeper.restore_batches(self.board)

    async def _restore(self, keeper: Keeper, servers: Sequence[str]) -> None:
        """Take up what is kept of these servers, or raise."""
        config = self._config
        breath = Breath()
        now = self._clock.now()
        unix = self._clock.wall(now)
        known = keeper.restore.servers(servers, unix, config.keep_finished, config.max_finished)
        async with aclosing(known):
            async for server, restored in known:
                await self._take_up(keeper, server, restored, now)
                await breath.take()

    async def _take_up(self, keeper: Keeper, server: str, restored: Restored, now: float) -> None:
        self._metric_sink.remove_server(server)  # of an earlier start: that is in the totals
        self._metric_sink.add_server(server, restored.totals)
        await keeper.restore.rewrite_totals(server, restored.totals, self.metrics)
        self.board.add_server(server)
        if restored.memory is not None:
            self.board.restore(server, (*restored.memory.finished_runs, *restored.memory.open_runs), now)
        self._restored[server] = restored
        self._fleet.forget(server)  # of an earlier start: that is in the log
        self._teaching.owe(server, self._fleet.predictor_of(server), restored.lessons)

    async def _lessons(self, servers: Sequence[str]) -> Mapping[str, Sequence[Run]]:
        try:
            return {} if self.keeper is None else await self.keeper.restore.lessons(servers)
        except (StoreAwayError, ValueError) as error:
            log.warning("estimates begin anew on %s, whose jobs cannot be read: %s", ", ".join(servers), error)
            return {}

    def start(self) -> None:
        """Begin to watch; needs a running loop."""
        for server in self._config.servers:
            if server.name not in self._restored:
                self._metric_sink.add_server(server.name)
                self.board.add_server(server.name)
            self._begin(server)
        self._register_early()
        if self.keeper is not None:
            self.keeper.start(self._config.store.retention, self._unix, lambda: self._fleet.watched)
        self._teaching.start()
        self.metrics.set(families.SERVERS, None, (), len(self._fleet.watched))

    def _begin(self, server: ServerConfig) -> None:
        """Watch a server from what was kept of it, if anything was."""
        restored = self._restored.pop(server.name, None)
        if restored is None:
            self._fleet.begin(server, self._job_log)
        else:
            self._fleet.begin(server, self._job_log, restored.memory, restored.failed_runs)

    @property
    def _job_log(self) -> JobLog | None:
        return None if self.keeper is None else self.keeper.log

    async def stop(self) -> None:
        """Stop watching and close every connection."""
        await self._teaching.stop()
        await self._fleet.end(tuple(self._fleet.watched))
        if self.keeper is not None:
            await self.keeper.close()
            self._sink.remove("store")
            self.keeper, self.history = None, BoardHistory(self.board)

    @property
    def failure_titles(self) -> dict[str, str]:
        """The failure patterns, built in and configured, in words."""
        return self._understanding.titles

    async def kept(self, patience: float) -> bool:
        """Wait until all that happened so far is kept; False if that takes longer than so many seconds."""
        if self.keeper is None:
            return True
        try:
            async with asyncio.timeout(patience):
                await self.keeper.log.committed()
        except TimeoutError:
            return False
        return True

    def register(
        self,
        *,
        job_id: int | str,
        prompt_id: str,
        job_type: str | None = None,
        batch_id: str | None = None,
        server: str | None = None,
        webhook_url: str | None = None,
    ) -> Registration:
        """Tell which job of an application a prompt is.

        It goes to the newest open run of the prompt_id, else to one that ended lately unregistered, else to the next.
        """
        registration = Registration(uuid.uuid4().hex, prompt_id, job_id, job_type, batch_id, server, webhook_url)
        if self._fleet.attach(registration) is not None:
            return registration
        before = self._registrations.waiting_for(prompt_id)
        if before is not None and str(before.job_id) == str(job_id):
            registration = replace(registration, run_id=before.run_id)
        for gone in self._registrations.add(registration):
            if gone.run_id != registration.run_id:
                self.board.unregistered(gone)
                if self.keeper is not None:
                    self.keeper.log.unregistered(gone)
        if self.keeper is None and self._store_url is not None:
            self._early.append(registration)
        self._show_registered(registration, self._clock.now(), ProgressStatus.INITIALIZING)
        return registration

    def _register_early(self) -> None:
        """Give what was registered before the store was opened to runs that it knew, and keep the rest in it."""
        early, self._early = self._early, []
        for registration in early:
            if self._registrations.waiting_for(registration.prompt_id) is not registration:
                continue
            server = self._fleet.attach(registration)
            if server is not None:
                self._registrations.claim(server, registration.prompt_id)
                self.board.unregistered(registration)
            elif self.keeper is not None:
                self.keeper.log.registered(registration, self._clock.now(), ProgressStatus.INITIALIZING)

    def _show_registered(self, registration: Registration, at: float, status: ProgressStatus) -> None:
        self.board.registered(registration, at, status)
        if self.keeper is not None:
            self.keeper.log.registered(registration, at, status)

    def _unix(self) -> float:
        return self._clock.wall(self._clock.now())

    def _nodes_of(self, server: str, run: Run) -> tuple[NodeReport, ...]:
        return self._fleet.nodes_of(server, run)

    # Servers that come, go and change

    async def reconfigure(self, config: Config) -> tuple[str, ...]:
        """Watch as another configuration says; servers for which it says the same are not disturbed.

        What stays as it was until the next start: see `config.changes.AT_START`. Gives what could not be done now, to
        be tried again; all else is as it is to be.
        """
        config = self._config = without_these(self._config, config)
        self._understanding.learn(config)
        self._metric_sink.expect(self._understanding.patterns, (rule.job_type for rule in config.job_types))
        servers = {server.name: server for server in config.servers}
        gone = [name for name in self._fleet.watched if name not in servers]
        await self._fleet.end(gone)
        breath = Breath()
        for name in gone:
            self._forget(name)
            await breath.take()
        await self._fleet.change(config, self._job_log)
        undone = await self._add([server for name, server in servers.items() if name not in self._fleet.watched])
        self.metrics.set(families.SERVERS, None, (), len(self._fleet.watched))
        return undone

    async def _add(self, servers: Sequence[ServerConfig]) -> tuple[str, ...]:
        """Watch more servers, from what is kept of them; says which cannot be watched now, and why."""
        undone = []
        breath = Breath()
        # What waits may be of a server that was watched before: to read less than that would lose it.
        away = bool(servers) and self.keeper is not None and not await self.keeper.log.commit()
        for some in together(servers):
            problems = await self._prepare([server.name for server in some], away=away)
            for server in some:
                error = problems.get(server.name)
                if error is None:
                    self._begin(server)
                else:
                    self._forget(server.name)
                    undone.append(f"{server.name} is not watched, as what is kept of it cannot be read: {error}")
                await breath.take()
        self._teaching.start()
        return tuple(undone)

    async def _prepare(self, servers: Sequence[str], *, away: bool) -> dict[str, Exception]:
        """Let servers be there, with what is kept of them; says of which that cannot be had now, and why."""
        if away:
            return dict.fromkeys(servers, StoreAwayError("the store does not take what happened"))
        if self.keeper is None:
            for server in servers:
                self._metric_sink.add_server(server)
                self.board.add_server(server)
            return {}
        try:
            await self._restore(self.keeper, servers)
            await self.keeper.restore_batches(self.board, servers)
        except StoreAwayError as error:
            return dict.fromkeys(servers, error)
        except ValueError as error:
            if len(servers) == 1:
                return {servers[0]: error}
            # What makes no sense is of one of them, and nothing to the others.
            problems: dict[str, Exception] = {}
            for server in servers:
                problems |= await self._prepare([server], away=False)
            return problems
        return {}

    def _forget(self, name: str) -> None:
        """Show nothing more of a server; what is kept of it stays, should it come back."""
        self._restored.pop(name, None)
        if self.keeper is not None:
            self.keeper.log.forget(name)
        self._metric_sink.remove_server(name)
        self.board.remove_server(name)
        self._registrations.remove_server(name)
        self._teaching.forget(name)
        self._fleet.forget(name)

    def _sink_failed(self, name: str) -> None:
        self.metrics.inc(families.SINK_ERRORS, None, (name,))
