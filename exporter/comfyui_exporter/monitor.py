"""The composition of the whole: one Monitor owns the sinks and the watch of each server."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random

from comfyui_exporter.access import access_of
from comfyui_exporter.comfyui.client import ComfyUIClient
from comfyui_exporter.comfyui.submission import JobTypeRule, SubmissionReader
from comfyui_exporter.config.model import Config
from comfyui_exporter.config.servers import ServerConfig
from comfyui_exporter.eta.predictor import RecentDurations
from comfyui_exporter.failures import FailureClassifier, FailurePattern
from comfyui_exporter.jobs.board import JobBoard
from comfyui_exporter.jobs.registrations import Registrations
from comfyui_exporter.jobs.update import ProgressStatus
from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.labels import Limits
from comfyui_exporter.metrics.sink import MetricSink
from comfyui_exporter.metrics.store import MetricStore, SelfSource
from comfyui_exporter.tracker.progress import NodeReport
from comfyui_exporter.tracker.registration import Registration
from comfyui_exporter.tracker.runs import Run
from comfyui_exporter.tracker.sink import Sink
from comfyui_exporter.tracker.tracker import Timing, Tracker
from comfyui_exporter.tracker.transitions import Transition
from comfyui_exporter.tracker.view import ServerView
from comfyui_exporter.watch.clock import Clock
from comfyui_exporter.watch.server_watch import ServerWatch
from comfyui_exporter.watch.source import Connector

log = logging.getLogger("comfyui_exporter.monitor")


class Fanout(Sink):
    """Tells several sinks; one that raises is logged and counted, and keeps nothing from the others."""

    def __init__(self, sinks: Sequence[tuple[str, Sink]], failed: Callable[[str], None]) -> None:
        self._sinks = tuple(sinks)
        self._failed = failed

    def transitions(self, server: str, changes: Sequence[Transition]) -> None:
        """What happened."""
        self._each(lambda sink: sink.transitions(server, changes))

    def view(self, server: str, view: ServerView, at: float) -> None:
        """How the server is now."""
        self._each(lambda sink: sink.view(server, view, at))

    def busy(self, server: str, seconds: float) -> None:
        """For so long a job ran."""
        self._each(lambda sink: sink.busy(server, seconds))

    def request(self, server: str, route: str, result: str, seconds: float, received_bytes: int) -> None:
        """A request was made."""
        self._each(lambda sink: sink.request(server, route, result, seconds, received_bytes))

    def event(self, server: str, kind: str, received_bytes: int) -> None:
        """An event came."""
        self._each(lambda sink: sink.event(server, kind, received_bytes))

    def _each(self, tell: Callable[[Sink], None]) -> None:
        for name, sink in self._sinks:
            try:
                tell(sink)
            except Exception:
                log.exception("sink %s failed", name)
                self._failed(name)


class _RegistrationTimeouts(Sink):
    """Tells of registered jobs that no server shows."""

    def __init__(self, registrations: Registrations, board: JobBoard) -> None:
        self._registrations = registrations
        self._board = board

    def view(self, server: str, view: ServerView, at: float) -> None:
        """Count the time in which all servers answer."""
        for registration in self._registrations.seen(server, up=view.up is True, at=at):
            log.warning("no server has shown the registered job", extra={"prompt_id": registration.prompt_id})
            self._board.registered(registration, at, ProgressStatus.TIMEOUT)


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
        self._connectors = connectors or {}
        self._config = config
        self._clock = clock or Clock()
        self._rng = rng or Random()  # noqa: S311  jitter and client ids, no secrets
        patterns = [FailurePattern.of(own.pattern, own.title, [own.regex]) for own in config.failure_patterns]
        self._classifier = FailureClassifier(patterns)
        self._submissions = SubmissionReader(
            [JobTypeRule(rule.job_type, rule.node_types) for rule in config.job_types], config.job_labels
        )
        limits = config.limits
        self.metrics = MetricStore(
            config.buckets.model_dump(),
            config.job_labels,
            Limits(label_values=limits.label_values, family_series=limits.family_series),
            self_sources,
        )
        self._metric_sink = MetricSink(
            self.metrics,
            self._clock.wall,
            self._classifier.ids,
            (rule.job_type for rule in config.job_types),
            job_series=limits.job_series,
            failed_series=limits.failed_series,
        )
        self.board = JobBoard(self._clock.wall, self._classifier.title, config.job_labels)
        self.board.nodes = self._nodes_of
        self._registrations = Registrations(config.registration_timeout)
        sinks: list[tuple[str, Sink]] = [
            ("metrics", self._metric_sink),
            ("board", self.board),
            ("registrations", _RegistrationTimeouts(self._registrations, self.board)),
        ]
        self._sink = Fanout(sinks, self._sink_failed)
        for name, _ in sinks:
            self.metrics.touch(families.SINK_ERRORS, None, (name,))
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._watches: dict[str, ServerWatch] = {}

    @property
    def servers(self) -> Iterable[str]:
        """The names of the servers that are watched."""
        return self._watches

    @property
    def ready(self) -> bool:
        """Whether every server was tried once: its first look is done, or it does not answer."""
        return all(watch.tried.is_set() for watch in self._watches.values())

    async def first_look(self) -> None:
        """Wait until `ready`."""
        for watch in list(self._watches.values()):
            await watch.tried.wait()

    def start(self) -> None:
        """Begin to watch; needs a running loop."""
        for server in self._config.servers:
            self._metric_sink.add_server(server.name)
            self.board.add_server(server.name)
            watch = self._watch_of(server)
            self._watches[server.name] = watch
            self._tasks[server.name] = asyncio.create_task(watch.run(), name=f"watch {server.name}")
        self.metrics.set(families.SERVERS, None, (), len(self._watches))

    async def stop(self) -> None:
        """Stop watching and close every connection."""
        for task in self._tasks.values():
            task.cancel()
        for result in await asyncio.gather(*self._tasks.values(), return_exceptions=True):
            if isinstance(result, Exception):
                log.error("a watch ended with an error", exc_info=result)
        self._tasks.clear()

    def register(
        self,
        *,
        job_id: int | str,
        prompt_id: str,
        job_type: str | None = None,
        batch_id: str | None = None,
        server: str | None = None,
    ) -> Registration:
        """Tell which job of an application a prompt is.

        It goes to the newest open run of the prompt_id, else to one that ended lately unregistered, else to the next.
        """
        registration = Registration(uuid.uuid4().hex, prompt_id, job_id, job_type, batch_id, server)
        watches = [watch for name, watch in self._watches.items() if server in {None, name}]
        watches.sort(key=lambda watch: -watch.newest_open(prompt_id))
        if any(watch.attach(registration) for watch in watches):
            return registration
        before = self._registrations.waiting_for(prompt_id)
        if before is not None and str(before.job_id) == str(job_id):
            registration = replace(registration, run_id=before.run_id)
        for gone in self._registrations.add(registration):
            if gone.run_id != registration.run_id:
                self.board.unregistered(gone)
        self.board.registered(registration, self._clock.now(), ProgressStatus.INITIALIZING)
        return registration

    def _nodes_of(self, server: str, run: Run) -> tuple[NodeReport, ...]:
        watch = self._watches.get(server)
        return () if watch is None else watch.nodes_of(run)

    def _watch_of(self, server: ServerConfig) -> ServerWatch:
        config = self._config
        client = self._connectors.get(server.name) or ComfyUIClient(
            server.url,
            access_of(server),
            request_timeout=config.request_timeout,
            max_response_size=config.max_response_size,
            submissions=self._submissions,
        )
        timing = Timing(
            job_grace=config.job_grace,
            keep_finished=config.keep_finished,
            max_finished=config.max_finished,
            job_timeout=server.job_timeout,
            stall_timeout=server.stall_timeout,
        )
        predictor = RecentDurations()
        tracker = Tracker(
            lambda: uuid.uuid4().hex,
            self._classifier.classify,
            timing,
            predictor.predict,
            lambda prompt_id: self._registrations.claim(server.name, prompt_id),
        )
        return ServerWatch(
            server.name,
            client,
            tracker,
            self._sink,
            self._clock.now,
            self._rng,
            poll_interval=config.poll_interval,
            client_id=server.client_id or "",
            predictor=predictor,
            close_client=server.name not in self._connectors,
        )

    def _sink_failed(self, name: str) -> None:
        self.metrics.inc(families.SINK_ERRORS, None, (name,))
