"""The servers that are watched: each begins, changes and ends without the others noticing."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import Protocol, TypeVar

from comfyui_exporter.access import access_of
from comfyui_exporter.comfyui.client import ComfyUIClient
from comfyui_exporter.comfyui.submission import JobTypeRule, SubmissionReader
from comfyui_exporter.config.model import Config
from comfyui_exporter.config.servers import ServerConfig
from comfyui_exporter.eta.late import LatePredictor
from comfyui_exporter.failures import FailureClassifier, FailurePattern
from comfyui_exporter.jobs.registrations import Registrations
from comfyui_exporter.searching import bounded_search
from comfyui_exporter.tracker.memory import Memory
from comfyui_exporter.tracker.progress import NodeReport
from comfyui_exporter.tracker.registration import Registration
from comfyui_exporter.tracker.runs import Run
from comfyui_exporter.tracker.sink import Sink
from comfyui_exporter.tracker.tracker import Timing, Tracker
from comfyui_exporter.watch.clock import Clock
from comfyui_exporter.watch.server_watch import ServerWatch
from comfyui_exporter.watch.source import Connector

log = logging.getLogger("comfyui_exporter.monitor")

LESSONS_READ = 200
"""Jobs of the history that are read for estimates, less those that the log had."""


class Keeping(Protocol):
    """Keeps what a tracker knows (the job log does)."""

    def watch(self, server: str, tracker: Tracker) -> None:
        """Keep what this tracker knows from now on."""

    async def committed(self) -> None:
        """Wait until all that was told is kept."""


class Understanding:
    """How jobs and failures are told apart, as the configuration says."""

    def __init__(self, config: Config) -> None:
        self.learn(config)

    def learn(self, config: Config) -> None:
        """Go by another configuration; watches that began before keep their rules of job types."""
        self._classifier = FailureClassifier(
            [FailurePattern.of(own.pattern, own.title, [own.regex]) for own in config.failure_patterns],
            search=bounded_search,
            told=_tell_of_slow,
        )
        self.submissions = SubmissionReader(
            [JobTypeRule(rule.job_type, rule.node_types) for rule in config.job_types], config.job_labels
        )

    @property
    def patterns(self) -> tuple[str, ...]:
        """The ids of all failure patterns."""
        return tuple(self._classifier.ids)

    @property
    def titles(self) -> dict[str, str]:
        """All failure patterns in words."""
        return {pattern: self.title(pattern) for pattern in self.patterns}

    def classify(self, exception_type: str, message: str, node_type: str) -> str:
        """Name the failure pattern."""
        return self._classifier.classify(exception_type, message, node_type)

    def title(self, pattern: str) -> str:
        """Put a failure pattern into words."""
        return self._classifier.title(pattern)


def _tell_of_slow(pattern: str) -> None:
    log.error("the regex of a failure pattern took too long three times and is not used any more: %s", pattern)


@dataclass(slots=True)
class Watched:
    """A server that is watched, and by what it is."""

    server: ServerConfig
    config: Config
    tracker: Tracker
    watch: ServerWatch
    task: asyncio.Task[None]

    def same(self, server: ServerConfig, config: Config) -> bool:
        """Whether it would be watched in the same way."""
        return server == self.server and all(
            getattr(config, name) == getattr(self.config, name) for name in _OF_EVERY_WATCH
        )


_OF_EVERY_WATCH = (
    "poll_interval", "request_timeout", "max_response_size", "job_grace", "keep_finished", "max_finished", "job_types",
)  # fmt: skip
"""Settings that a watch is made with."""


FEW = 16
"""Servers that may be asked all at once."""

LONGEST_PHASE = 5.0


def phase_of(server: str, among: int, poll_interval: float) -> float:
    """Seconds that the first poll of a server waits, so that the polls of many are spread; always the same for it."""
    if among <= FEW:
        return 0.0
    draw = int.from_bytes(blake2b(server.encode("utf-8", "surrogatepass"), digest_size=8, person=b"phase").digest())
    return min(poll_interval, LONGEST_PHASE) * draw / 2**64


TOGETHER = 32
"""Servers that are begun, or stopped and begun anew, at a time: of many, none is unwatched for long."""

_Each = TypeVar("_Each")

_LONG = 0.02


class Breath:
    """Lets everybody else go on, now and then, while something is done for many servers."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    async def take(self) -> None:
        """Give way if we have been at it for long."""
        if time.monotonic() - self._last >= _LONG:
            await asyncio.sleep(0)
            self._last = time.monotonic()


def together(several: Sequence[_Each]) -> Iterator[Sequence[_Each]]:
    """Give some of them at a time."""
    return (several[place : place + TOGETHER] for place in range(0, len(several), TOGETHER))


async def _stopped(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            log.error("a watch ended with an error", exc_info=result)


class Fleet:
    """Keeps the watch of each server. `connectors` are used for the servers of these names, and are left open."""

    def __init__(
        self,
        config: Config,
        understanding: Understanding,
        sink: Sink,
        registrations: Registrations,
        clock: Clock,
        rng: Random,
        connectors: Mapping[str, Connector],
    ) -> None:
        self._config = config
        self._understanding = understanding
        self._sink = sink
        self._registrations = registrations
        self._clock = clock
        self._rng = rng
        self._connectors = connectors
        self._predictors: dict[str, LatePredictor] = {}
        self.watched: dict[str, Watched] = {}

    @property
    def watches(self) -> tuple[ServerWatch, ...]:
        """The watch of every server."""
        return tuple(each.watch for each in self.watched.values())

    def predictor_of(self, server: str) -> LatePredictor:
        """Give what learns how long the jobs of a server take."""
        predictor = self._predictors.get(server)
        if predictor is None:
            predictor = self._predictors[server] = LatePredictor()
        return predictor

    def nodes_of(self, server: str, run: Run) -> tuple[NodeReport, ...]:
        """Give the nodes of a run with what was heard of them."""
        watched = self.watched.get(server)
        return () if watched is None else watched.watch.nodes_of(run)

    def attach(self, registration: Registration) -> str | None:
        """Give the newest open run of a prompt_id, else one that ended lately, what was registered; its server."""
        names = [name for name in self.watched if registration.server in {None, name}]
        names.sort(key=lambda name: -self.watched[name].watch.newest_open(registration.prompt_id))
        return next((name for name in names if self.watched[name].watch.attach(registration)), None)

    # Beginning and ending

    def begin(
        self,
        server: ServerConfig,
        keeping: Keeping | None,
        memory: Memory | None = None,
        failed_runs: Iterable[Run] = (),
    ) -> None:
        """Watch a server, from its memory if it has one; needs a running loop."""
        config = self._config
        predictor = self.predictor_of(server.name)
        tracker = Tracker(
            lambda: uuid.uuid4().hex,
            self._understanding.classify,
            Timing(
                job_grace=config.job_grace,
                keep_finished=config.keep_finished,
                max_finished=config.max_finished,
                job_timeout=server.job_timeout,
                stall_timeout=server.stall_timeout,
            ),
            predictor.predict,
            lambda prompt_id: self._registrations.claim(server.name, prompt_id),
        )
        if memory is not None:
            tracker.restore(memory)
        if keeping is not None:
            keeping.watch(server.name, tracker)
        watch = ServerWatch(
            server.name,
            self._connectors.get(server.name) or self._client_of(server),
            tracker,
            self._sink,
            self._clock.now,
            self._rng,
            poll_interval=config.poll_interval,
            client_id=server.client_id or "",
            predictor=predictor,
            lessons_wanted=max(0, LESSONS_READ - predictor.lessons),
            close_client=server.name not in self._connectors,
            failed_runs=failed_runs,
            kept=None if keeping is None else keeping.committed,
            phase=phase_of(server.name, len(config.servers), config.poll_interval),
        )
        task = asyncio.create_task(watch.run(), name=f"watch {server.name}")
        self.watched[server.name] = Watched(server, config, tracker, watch, task)

    async def change(self, config: Config, keeping: Keeping | None) -> None:
        """Go by another configuration: servers that it watches otherwise begin anew, from what is known of them."""
        self._config = config
        servers = {server.name: server for server in config.servers}
        others = {
            name: watched
            for name, watched in self.watched.items()
            if name in servers and not watched.same(servers[name], config)
        }
        for some in together(tuple(others)):
            # They stay among the watched until others take their place: what is registered meanwhile goes to them.
            await _stopped([others[name].task for name in some])
            for name in some:
                before = others[name]
                self.begin(servers[name], keeping, before.tracker.remember(), before.watch.failed_runs)
            await asyncio.sleep(0)

    async def end(self, names: Collection[str]) -> None:
        """Stop watching these servers, and close their connections."""
        for some in together(tuple(names)):
            await _stopped([self.watched.pop(name).task for name in some])

    def forget(self, name: str) -> None:
        """Forget what was learned of a server that is watched no more."""
        self._predictors.pop(name, None)

    def _client_of(self, server: ServerConfig) -> ComfyUIClient:
        return ComfyUIClient(
            server.url,
            access_of(server),
            request_timeout=self._config.request_timeout,
            max_response_size=self._config.max_response_size,
            submissions=self._understanding.submissions,
        )
