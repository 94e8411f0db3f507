"""Watches one ComfyUI: its client, tracker, poller and event stream, and what its sinks are told."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum, auto
from random import Random

from comfyui_exporter.comfyui.errors import ErrorKind, ReadError
from comfyui_exporter.eta.forecast import Forecaster
from comfyui_exporter.eta.predictor import LearningPredictor, Predictor
from comfyui_exporter.tracker.busy import BusyMeter
from comfyui_exporter.tracker.observations import SystemStats
from comfyui_exporter.tracker.progress import NodeReport
from comfyui_exporter.tracker.registration import Registration
from comfyui_exporter.tracker.runs import Run, State
from comfyui_exporter.tracker.sink import Sink
from comfyui_exporter.tracker.tracker import Tracker
from comfyui_exporter.tracker.transitions import Ended, ServerRestarted, Started, Transition
from comfyui_exporter.tracker.view import ServerView, in_queue_order
from comfyui_exporter.watch.backoff import Backoff
from comfyui_exporter.watch.listener import Listener
from comfyui_exporter.watch.poller import Poller
from comfyui_exporter.watch.signals import Signals
from comfyui_exporter.watch.source import Connector

logger = logging.getLogger("comfyui_exporter.watch")

STATS_INTERVAL = 15.0
"""Seconds between reads of /system_stats, which costs ComfyUI seven times what /prompt does."""

LESSONS = 200
"""Jobs that had ended before our first look, read to have estimates soon."""

TRIES_UNTIL_DOWN = 3
_RETRY = 2.0
"""Seconds until a read that failed is tried again while the server answers others."""

_SHORTEST_WAIT = 0.05
_FAILURES_KEPT = 100


class _Outcome(Enum):
    DONE = auto()
    IN_PART = auto()
    SILENCE = auto()


class ServerWatch:
    """Watches one server until cancelled.

    `failed_runs` are the failures of late that were known before, newest first; `kept` waits until all that happened so
    far will outlive us; `lessons_wanted` is how many jobs that ended before our first look are read for estimates;
    `phase` is how many seconds it waits before it begins.
    """

    def __init__(
        self,
        name: str,
        client: Connector,
        tracker: Tracker,
        sink: Sink,
        now: Callable[[], float],
        rng: Random,
        *,
        poll_interval: float = 2.0,
        client_id: str = "",
        predictor: Predictor | None = None,
        lessons_wanted: int = LESSONS,
        close_client: bool = True,
        failed_runs: Iterable[Run] = (),
        kept: Callable[[], Awaitable[None]] | None = None,
        phase: float = 0.0,
    ) -> None:
        self.name = name
        self._log = logging.LoggerAdapter(logger, {"server": name})
        self.tried = asyncio.Event()
        """Set once the first look is done or the server turned out not to answer."""
        self._client = client
        self._close_client = close_client
        self._tracker = tracker
        self._sink = sink
        self._now = now
        self._rng = rng
        self._interval = poll_interval
        self._woken = asyncio.Event()
        self._signals = Signals(self._woken.set)
        self._predictor = predictor or LearningPredictor()
        self._forecaster = Forecaster(self._predictor)
        self._poller = Poller(client, tracker, self._signals, now, self._emit, self._predictor.recall, lessons_wanted)
        self._listener = Listener(
            client,
            self._signals,
            now,
            rng,
            client_id=client_id,
            event=self._poller.hear,
            heard=self._heard,
            problem=self._problem,
            log=self._log,
        )
        self._busy = BusyMeter()
        self._ended: list[Run] = []
        self._failed: deque[Run] = deque(failed_runs, maxlen=_FAILURES_KEPT)
        self._kept = kept
        self._phase = phase
        self._announcing: asyncio.Task[None] | None = None
        self._stats: SystemStats | None = None
        self._up: bool | None = None
        self._unanswered = 0
        self._answers = 0
        self._last_success: float | None = None
        self._reported = set[tuple[str, str]]()
        client.attend(self._observe, self._problem, self._signals.connection_broke)

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            await asyncio.sleep(self._phase)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listener.run(), name=f"listen {self.name}")
                tasks.create_task(self._poll(), name=f"poll {self.name}")
        finally:
            if self._announcing is not None:
                self._announcing.cancel()
            if self._close_client:
                await self._client.close()

    @property
    def failed_runs(self) -> tuple[Run, ...]:
        """The failures of late, newest first."""
        return tuple(self._failed)

    def attach(self, registration: Registration) -> bool:
        """Give a run that is open, or ended lately, what was registered for it; False if there is none."""
        changes = self._tracker.attach(self._now(), registration)
        if changes:
            self._emit(changes)
        return changes is not None

    def newest_open(self, prompt_id: str) -> float:
        """When the newest open run of a prompt_id was first seen; minus infinity if there is none."""
        runs = self._tracker.open_runs
        return max((run.first_seen for run in runs if run.prompt_id == prompt_id), default=-math.inf)

    def nodes_of(self, run: Run) -> tuple[NodeReport, ...]:
        """Give every node of a run with what was heard of it."""
        return self._tracker.nodes_of(run, self._now())

    # Polling

    async def _poll(self) -> None:
        backoff = Backoff(self._interval, self._rng)
        next_ask = next_stats = self._now()
        while True:
            self._woken.clear()
            ask = self._now() >= next_ask
            outcome = await self._cycle(ask=ask)
            if outcome is _Outcome.SILENCE:
                self._show()
                await asyncio.sleep(backoff.failed())
                next_ask = self._now()
                continue
            at = self._now()
            if ask:
                backoff.succeeded()
                next_ask = at + self._interval
            if at >= next_stats:
                await self._read_stats()
                next_stats = at + STATS_INTERVAL
            self._show()
            if outcome is _Outcome.DONE:
                await self._wait(min(next_ask, self._poller.due or next_ask))
            else:
                # It answers, but not everything: what is missing is asked for again, only not at once.
                await asyncio.sleep(min(self._interval, _RETRY))

    async def _cycle(self, *, ask: bool) -> _Outcome:
        """Run one cycle."""
        answers = self._poller.answers
        try:
            await self._poller.cycle(ask=ask)
        except ReadError as error:
            if error.kind is ErrorKind.CONNECTION:
                self._signals.connection_broke(refused=error.refused)
            if self._poller.answers == answers and ask:
                self._no_answer(error)
                return _Outcome.SILENCE
            self._log.info("%s", error)
            return _Outcome.IN_PART
        except Exception:
            # A defect of ours must not end the watch; the next cycle reads again what this one did not get to.
            self._log.exception("unexpected error")
            return _Outcome.IN_PART
        finally:
            if self._poller.answers != answers:
                self._answered()
        if self._poller.looked and self._announcing is None:
            # In a task of its own: a store that is away does not keep us from watching.
            self._announcing = asyncio.create_task(self._announce(), name=f"first look {self.name}")
        return _Outcome.DONE

    async def _announce(self) -> None:
        """The first look is done, once its mark is kept: what ended before it must not be counted by the next start."""
        if self._kept is not None:
            await self._kept()
        self.tried.set()

    def _answered(self) -> None:
        self._last_success = self._now()
        self._unanswered = 0
        if not self._up:
            self._log.info("ComfyUI answers")
        self._up = True

    def _no_answer(self, error: ReadError) -> None:
        self._unanswered += 1
        if self._unanswered >= TRIES_UNTIL_DOWN:
            if self._up is not False:
                self._log.warning("ComfyUI does not answer: %s", error)
            self._up = False
        if self._announcing is None:
            self.tried.set()

    async def _read_stats(self) -> None:
        try:
            self._stats = await self._client.system_stats()
        except ReadError as error:
            self._log.info("%s", error)

    async def _wait(self, until: float) -> None:
        """Wait, but no longer than until a frame comes in."""
        # Cheaper than a timeout, which cancels the task to wake it.
        over = asyncio.get_running_loop().call_later(max(_SHORTEST_WAIT, until - self._now()), self._woken.set)
        try:
            await self._woken.wait()
        finally:
            over.cancel()

    # Telling

    def _emit(self, changes: list[Transition]) -> None:
        for change in changes:
            if isinstance(change, Ended):
                self._ended.append(change.run)
                self._predictor.learn(change.run)
                if change.run.state is State.FAILED:
                    self._failed.appendleft(change.run)
            elif isinstance(change, Started):
                self._predictor.started(change.run)
            elif isinstance(change, ServerRestarted):
                self._log.warning("ComfyUI restarted")
        self._sink.transitions(self.name, changes)

    def _show(self) -> None:
        at = self._now()
        running = self._tracker.likely_running()
        if self._unanswered == 0:
            self._sink.busy(self.name, self._busy.advance(at, running, self._ended))
            self._ended.clear()
        open_runs = in_queue_order(self._tracker.open_runs)
        remaining = self._poller.remaining
        busy = None if remaining is None else min(remaining, 1)
        self._sink.view(
            self.name,
            ServerView(
                up=self._up,
                event_stream_connected=self._signals.socket_open,
                last_success=self._last_success,
                last_activity=self._tracker.last_activity,
                running=busy,
                pending=None if remaining is None or busy is None else remaining - busy,
                open_runs=open_runs,
                failed_runs=tuple(self._failed),
                stats=self._stats,
                forecast=self._forecaster.forecast(open_runs, at),
            ),
            at,
        )

    def _heard(self, kind: str, received_bytes: int) -> None:
        self._sink.event(self.name, kind, received_bytes)

    def _observe(self, route: str, result: str, seconds: float, received_bytes: int) -> None:
        self._sink.request(self.name, route, result, seconds, received_bytes)

    def _problem(self, route: str, problem: str) -> None:
        self._sink.request(self.name, route, ErrorKind.PAYLOAD.value, 0.0, 0)
        # The kind of problem, not each of its instances: a bad job stays in the history for long.
        kind = (route, problem.split(" - at ", maxsplit=1)[0][:100])
        if kind not in self._reported and len(self._reported) < 100:
            self._reported.add(kind)
            self._log.warning("part of an answer to %s is not usable: %s", route, problem)
