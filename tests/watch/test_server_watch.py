"""One watched server over real HTTP and a real socket."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from random import Random
from typing import Any, Self

import pytest

from comfyui_exporter.comfyui.client import ComfyUIClient
from comfyui_exporter.eta.predictor import LearningPredictor
from comfyui_exporter.simulator import Simulation
from comfyui_exporter.simulator.simtime import ManualTime
from comfyui_exporter.tracker.runs import Run
from comfyui_exporter.tracker.tracker import Tracker
from comfyui_exporter.tracker.transitions import Ended, ServerRestarted, Started, Submitted, Transition
from comfyui_exporter.tracker.view import ServerView
from comfyui_exporter.watch.clock import Clock
from comfyui_exporter.watch.server_watch import ServerWatch


class Recorder:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.changes: list[Transition] = []
        self.views: list[ServerView] = []
        self.requests: list[tuple[str, str]] = []
        self.events: list[str] = []
        self.told = asyncio.Event()

    def transitions(self, server: str, changes: list[Transition]) -> None:
        self.changes += changes
        self.told.set()

    def view(self, server: str, view: ServerView, at: float) -> None:
        self.views.append(view)
        self.told.set()

    def busy(self, server: str, seconds: float) -> None:
        assert seconds >= 0

    def request(self, server: str, route: str, result: str, seconds: float, received_bytes: int) -> None:
        self.requests.append((route, result))
        self.told.set()

    def event(self, server: str, kind: str, received_bytes: int) -> None:
        self.events.append(kind)
        self.told.set()

    def ended(self) -> list[Run]:
        return [change.run for change in self.changes if isinstance(change, Ended)]

    async def until(self, happened: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not happened():
                self.told.clear()
                await self.told.wait()


class Watched:
    """A simulated ComfyUI in time that the test moves, and a watch of it that polls only once on its own.

    With `hurried`, seconds pass whenever the watch looks at its clock.
    """

    def __init__(self, poll_interval: float = 3600.0, history: int = 0, *, hurried: bool = False) -> None:
        self.time = ManualTime()
        self.sim = Simulation(time=self.time, history=history, failure_rate=0.0)
        self.sink = Recorder()
        self._interval = poll_interval
        hurry = itertools.count(0.0, 2.0)
        self._now = (lambda: next(hurry)) if hurried else Clock().now

    async def __aenter__(self) -> Self:
        await self.sim.__aenter__()
        ids = itertools.count()
        predictor = LearningPredictor()
        self.watch = ServerWatch(
            "sim",
            ComfyUIClient(self.sim.url, request_timeout=2.0),
            Tracker(lambda: f"run{next(ids)}", lambda *_: "unknown", expect=predictor.predict),
            self.sink,
            self._now,
            Random(3),
            poll_interval=self._interval,
            predictor=predictor,
        )
        self.task = asyncio.create_task(self.watch.run())
        await self.watch.tried.wait()
        await self.sink.until(lambda: self.sink.views and self.sink.views[-1].event_stream_connected)
        return self

    async def __aexit__(self, *error: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.sim.__aexit__(None, None, None)

    def submit(self, steps: int = 2) -> None:
        prompt = {
            "1": {"class_type": "ProbeSteps", "inputs": {"steps": steps, "step_ms": 100, "seed": steps}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
        }
        self.sim.comfy.submit({"prompt": prompt})


async def test_a_status_frame_brings_start_and_end_without_waiting_for_the_next_poll() -> None:
    async with Watched() as watched:
        sink = watched.sink
        watched.submit()
        await sink.until(lambda: any(isinstance(change, Started) for change in sink.changes))
        await watched.time.advance(1000)
        await sink.until(sink.ended)
        assert [type(change) for change in sink.changes if not isinstance(change, Started)][:1] == [Submitted]
        assert sink.requests.count(("/prompt", "ok")) == 1
        assert sink.ended()[0].state.value == "completed"
        assert "status" in sink.events


async def test_the_view_says_what_runs_and_waits() -> None:
    async with Watched() as watched:
        for _ in range(3):
            watched.submit()
        await watched.sink.until(lambda: (watched.sink.views[-1].running, watched.sink.views[-1].pending) == (1, 2))
        view = watched.sink.views[-1]
        assert view.up is True
        assert view.stats is not None
        assert view.stats.version == "0.3.64"


async def test_jobs_that_ended_before_the_first_look_give_estimates_and_are_not_counted() -> None:
    async with Watched(poll_interval=1.0, history=15, hurried=True) as watched:
        sink = watched.sink
        for _ in range(3):
            watched.sim.traffic.submit()
        await sink.until(lambda: sink.views[-1].forecast.drain_seconds)
        assert len(sink.views[-1].forecast.ends) == 3
        assert sink.ended() == []


async def test_a_job_that_waits_is_told_apart_by_the_job_that_runs_before_it() -> None:
    async with Watched(poll_interval=0.1) as watched:
        sink = watched.sink
        watched.submit(20)
        await sink.until(lambda: sink.views[-1].running == 1)
        await watched.time.advance(5000)
        await sink.until(sink.ended)
        watched.submit(30)
        watched.submit(30)
        await sink.until(lambda: len(sink.views[-1].forecast.ends) == 2)
        first, again = sink.views[-1].forecast.seconds.values()
        # The second is the very same, so all of it will come from the cache.
        assert first > 1
        assert again < 0.1
        await watched.time.advance(10_000)
        await sink.until(lambda: len(sink.ended()) == 3)
        # So it was foreseen when it started too, though the end of the first may not have been read by then.
        assert [run.predicted for run in sink.ended()[1:]] == [pytest.approx(first, rel=0.1), pytest.approx(0.05)]


async def test_a_crash_is_seen_as_silence_and_then_as_a_restart() -> None:
    async with Watched(poll_interval=0.1) as watched:
        sink = watched.sink
        watched.submit(1000)
        await sink.until(lambda: sink.views[-1].running == 1)
        await watched.sim.kill()
        await sink.until(lambda: sink.views[-1].up is False)
        assert not sink.views[-1].event_stream_connected
        assert ("/prompt", "connection") in sink.requests
        await watched.sim.restart()
        await sink.until(lambda: any(isinstance(change, ServerRestarted) for change in sink.changes))
        await sink.until(lambda: sink.views[-1].up is True)
        assert sink.ended() == []  # lost only after the grace


async def test_three_failed_tries_make_a_server_down_and_one_does_not() -> None:
    async with Watched(poll_interval=0.1) as watched:
        sink = watched.sink
        watched.sim.faults.add("prompt", "error", count=2)
        await sink.until(lambda: sink.requests.count(("/prompt", "http")) == 2)
        await sink.until(lambda: sink.requests[-1] == ("/prompt", "ok") or sink.requests.count(("/prompt", "ok")) > 3)
        assert all(view.up is not False for view in sink.views)
        watched.sim.faults.add("prompt", "error", count=3)
        await sink.until(lambda: sink.views[-1].up is False)
        await sink.until(lambda: sink.views[-1].up is True)
