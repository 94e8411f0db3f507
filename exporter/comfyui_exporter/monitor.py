"""The composition of the whole: one Monitor owns the sinks and the watch of each server."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterable, Sequence
from random import Random

from comfyui_exporter.access import access_of
from comfyui_exporter.comfyui.client import ComfyUIClient
from comfyui_exporter.comfyui.submission import JobTypeRule, SubmissionReader
from comfyui_exporter.config.model import Config
from comfyui_exporter.config.servers import ServerConfig
from comfyui_exporter.failures import FailureClassifier, FailurePattern
from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.labels import Limits
from comfyui_exporter.metrics.sink import MetricSink
from comfyui_exporter.metrics.store import MetricStore, SelfSource
from comfyui_exporter.tracker.tracker import Timing, Tracker
from comfyui_exporter.tracker.transitions import Transition
from comfyui_exporter.tracker.view import ServerView
from comfyui_exporter.watch.clock import Clock
from comfyui_exporter.watch.server_watch import ServerWatch, Sink

log = logging.getLogger("comfyui_exporter.monitor")


class Fanout:
    """Tells several sinks; one that raises is logged and counted, and keeps nothing from the others."""

    def __init__(self, sinks: Sequence[tuple[str, Sink]], failed: Callable[[str], None]) -> None:
        self._sinks = tuple(sinks)
        self._failed = failed

    def transitions(self, server: str, changes: list[Transition]) -> None:
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


class Monitor:
    """Watches every server of a configuration from `start` to `stop`."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        rng: Random | None = None,
        self_sources: Sequence[SelfSource] = (),
    ) -> None:
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
        self._sink = Fanout([("metrics", self._metric_sink)], self._sink_failed)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._watches: dict[str, ServerWatch] = {}
        self.metrics.touch(families.SINK_ERRORS, None, ("metrics",))

    @property
    def servers(self) -> Iterable[str]:
        """The names of the servers that are watched."""
        return self._watches

    @property
    def ready(self) -> bool:
        """Whether every server was tried once: its first look is done, or it does not answer."""
        return all(watch.tried.is_set() for watch in self._watches.values())

    def start(self) -> None:
        """Begin to watch; needs a running loop."""
        for server in self._config.servers:
            self._metric_sink.add_server(server.name)
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

    def _watch_of(self, server: ServerConfig) -> ServerWatch:
        config = self._config
        client = ComfyUIClient(
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
        return ServerWatch(
            server.name,
            client,
            Tracker(lambda: uuid.uuid4().hex, self._classifier.classify, timing),
            self._sink,
            self._clock.now,
            self._rng,
            poll_interval=config.poll_interval,
            client_id=server.client_id or "",
        )

    def _sink_failed(self, name: str) -> None:
        self.metrics.inc(families.SINK_ERRORS, None, (name,))
