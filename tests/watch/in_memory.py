"""A ComfyUI in memory as a source of reads, and a watcher that polls it without an event loop."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from comfyui_exporter.comfyui.client import Cost
from comfyui_exporter.comfyui.errors import ErrorKind, ReadError
from comfyui_exporter.comfyui.events import OtherEvent, StatusEvent, read_frame
from comfyui_exporter.comfyui.history import HistoryPayload, Knows, read_history
from comfyui_exporter.comfyui.queue import (
    Known,
    QueuePayload,
    read_job_details,
    read_jobs,
    read_prompt,
    read_queue,
)
from comfyui_exporter.comfyui.submission import SubmissionReader
from comfyui_exporter.simulator.answer import Answer, ComfyUIDownError
from comfyui_exporter.simulator.comfy import ComfyUI
from comfyui_exporter.simulator.execution import PREVIEW, PREVIEW_WITH_METADATA
from comfyui_exporter.tracker.observations import Details, Event, EventsMissed
from comfyui_exporter.tracker.runs import Run
from comfyui_exporter.tracker.tracker import Timing, Tracker
from comfyui_exporter.tracker.transitions import Ended, ServerRestarted, Submitted, Transition
from comfyui_exporter.watch.poller import Poller
from comfyui_exporter.watch.signals import Signals


def run_now(step: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits for anything real."""
    try:
        step.send(None)
    except StopIteration:
        return
    raise AssertionError("it waited for an event loop")


class InMemorySource:
    """Reads a simulated ComfyUI directly; what is in `before_read` happens before the next reads, one each."""

    def __init__(self, comfy: ComfyUI) -> None:
        self.comfy = comfy
        self.last = Cost()
        self.before_read: deque[Callable[[], None]] = deque()
        self.failing: deque[bool] = deque()
        self.routes: list[str] = []
        self.reconnecting = False
        self.on_reconnect: Callable[[], None] = lambda: None
        self.received: dict[str, int] = {}
        self._submissions = SubmissionReader()

    def _ask(self, route: str, ask: Callable[[], Answer], *, may_be_absent: bool = False) -> bytes:
        if self.before_read:
            self.before_read.popleft()()
        self.routes.append(route)
        self.last = Cost()
        try:
            answer = ask()
        except ComfyUIDownError:
            raise ReadError(ErrorKind.CONNECTION, "down", refused=True) from None
        if self.reconnecting:
            self.reconnecting = False
            self.on_reconnect()
        if self.failing and self.failing.popleft():
            raise ReadError(ErrorKind.TIMEOUT, "no answer")
        if answer.status != 200:
            raise ReadError(ErrorKind.HTTP, f"{route} {answer.status}", status=answer.status)
        body = json.dumps(answer.delivered()).encode()
        self.last.received_bytes = len(body)
        self.received[route] = self.received.get(route, 0) + len(body)
        return body

    async def queue_remaining(self) -> int:
        return read_prompt(self._ask("/prompt", self.comfy.prompt_info))

    async def queue(self, known: Known) -> QueuePayload:
        return read_queue(self._ask("/queue", self.comfy.queue), self._submissions, known)

    async def history_entry(self, prompt_id: str, knows: Knows) -> HistoryPayload:
        body = self._ask("/history/{id}", lambda: self.comfy.history_one(prompt_id))
        return read_history(body, self._submissions, knows)

    async def history_page(self, max_items: int, knows: Knows, offset: int | None = None) -> HistoryPayload:
        body = self._ask("/history", lambda: self.comfy.history(max_items, -1 if offset is None else offset))
        return read_history(body, self._submissions, knows)

    async def jobs(self) -> QueuePayload | None:
        try:
            query = {"status": "in_progress,pending", "sort_by": "created_at", "sort_order": "asc"}
            return read_jobs(self._ask("/api/jobs", lambda: self.comfy.jobs(query)))
        except ReadError as error:
            if error.status == 404:
                return None
            raise

    async def job_details(self, prompt_id: str) -> Details | None:
        return read_job_details(self._ask("/api/jobs/{id}", lambda: self.comfy.job(prompt_id)), self._submissions)


class World:
    """A simulated ComfyUI, a watcher of it, and the two clocks, which have nothing to do with each other."""

    def __init__(
        self,
        profile: str = "0.3.64",
        history_size: int = 10_000,
        timing: Timing | None = None,
        graph_bytes: int = 0,
        *,
        bridged: bool = False,
        lessons_wanted: int = 0,
    ) -> None:
        self.graph_bytes = graph_bytes
        self.bridged = bridged
        """Whether something inside ComfyUI sends us what it sends to the submitter alone."""
        self.now = 1_000_000.0
        self.comfy_ms = 5_000_000.0
        self.comfy = ComfyUI(
            self._comfy_clock, Random(1), profile=profile, listener=self._event, maximum_history_size=history_size
        )
        self.frames: deque[int | Event] = deque()
        """What the socket sent and we have not taken yet: numbers of jobs, and what jobs do."""
        self.socket_open = False
        self.source = InMemorySource(self.comfy)
        self.signals = Signals()
        self.source.on_reconnect = self.signals.connection_broke
        ids = itertools.count()
        self.tracker = Tracker(lambda: f"run{next(ids)}", lambda *_: "unknown", timing)
        self.mistaken = False
        """Whether a restart was concluded where there was none since the last one (or since we began)."""
        self._restarts_seen = 0
        self.changes: list[Transition] = []
        self.recalled: list[Run] = []
        self.poller = Poller(
            self.source,
            self.tracker,
            self.signals,
            lambda: self.now,
            self.changes.extend,
            self.recalled.append,
            lessons_wanted,
        )

    def _comfy_clock(self) -> float:
        self.comfy_ms += 1
        return self.comfy_ms

    def _event(self, event: str, data: Any, recipient: Any) -> None:
        if not self.socket_open or event in {PREVIEW, PREVIEW_WITH_METADATA}:
            return
        if recipient is not None and not self.bridged:
            return
        _, said = read_frame(json.dumps({"type": event, "data": data}), self.now)
        execution = self.comfy.execution
        if execution is not None and "prompt_id" in data:
            self.comfy.ledger.heard(execution.item.run)
        if isinstance(said, StatusEvent):
            self.frames.append(said.queue_remaining)
        elif not isinstance(said, OtherEvent):
            self.frames.append(said)

    # The socket

    def open_socket(self) -> None:
        if not self.socket_open and self.comfy.alive:
            self.socket_open = True
            self.frames.clear()
            self.poller.hear(EventsMissed(self.now))
            self.signals.opened()
            self.frames.append(self.comfy.queue_remaining)

    def close_socket(self) -> None:
        if self.socket_open:
            self.socket_open = False
            self.deliver_frames()
            self.signals.closed()

    def deliver_frames(self, most: int | None = None) -> None:
        while self.frames and (most is None or most > 0):
            frame = self.frames.popleft()
            if isinstance(frame, int):
                self.signals.heard(frame)
            else:
                self.poller.hear(frame)
            most = None if most is None else most - 1

    # ComfyUI

    def submit(self, **body: Any) -> None:
        prompt = {
            "1": {"class_type": "ProbeSteps", "inputs": {"steps": 1, "step_ms": 1, "seed": self.comfy_ms}},
            "2": {
                "class_type": "SaveImage",
                "inputs": {"images": ["1", 0], "filename_prefix": "x" + " " * self.graph_bytes},
            },
        }
        self.comfy.submit({"prompt": prompt, **body})

    def die(self) -> None:
        if self.comfy.alive:
            self.comfy.kill()
            self.close_socket()
            self.source.reconnecting = bool(self.source.routes)

    # Watching

    def poll(self, *, ask: bool = True) -> bool:
        """Run one cycle; False if it had no answer."""
        noticed = self.restarts
        try:
            run_now(self.poller.cycle(ask=ask))
        except ReadError as error:
            if error.kind is ErrorKind.CONNECTION:
                self.signals.connection_broke(refused=error.refused)
            return False
        finally:
            if self.restarts > noticed:
                self.mistaken |= self.comfy.ledger.restarts == self._restarts_seen
                self._restarts_seen = self.comfy.ledger.restarts
        self._restarts_seen = self.comfy.ledger.restarts  # noticed, or nothing was known that could tell
        return True

    def settle(self, rounds: int = 25) -> None:
        """Poll for long enough that everything that can be known is."""
        for _ in range(rounds):
            self.deliver_frames()
            self.now += 100.0
            self.poll()

    @property
    def restarts(self) -> int:
        return sum(isinstance(change, ServerRestarted) for change in self.changes)

    def submitted(self) -> list[Run]:
        return [change.run for change in self.changes if isinstance(change, Submitted)]

    def ended(self) -> list[Run]:
        return [change.run for change in self.changes if isinstance(change, Ended)]
