"""The real watcher over HTTP, composed as ServerWatch and Monitor do, with a clock that the test advances."""

from __future__ import annotations

import itertools
from collections import deque
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from comfyui_exporter.comfyui.client import ComfyUIClient
from comfyui_exporter.comfyui.errors import ErrorKind, ReadError
from comfyui_exporter.comfyui.events import OtherEvent, StatusEvent, read_frame
from comfyui_exporter.config.model import Config
from comfyui_exporter.failures import FailureClassifier
from comfyui_exporter.metrics.sink import MetricSink
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.tracker.runs import Run, State
from comfyui_exporter.tracker.tracker import Tracker
from comfyui_exporter.tracker.transitions import Ended, Transition
from comfyui_exporter.tracker.view import ServerView, in_queue_order
from comfyui_exporter.watch.poller import Poller
from comfyui_exporter.watch.server_watch import TRIES_UNTIL_DOWN
from comfyui_exporter.watch.signals import Signals
from recorded.server import Replay, Server

SERVER = "recorded"
INTERVAL = 2.0
SHORTEST_WAIT = 0.05
PAST_GRACE = 40.0

Samples = dict[tuple[str, ...], float]
"""By the values of the labels that were asked for."""


class Watcher:
    """Watches the server of a replay, with or without its socket. An async context manager.

    A `deaf` socket is open and hears nothing after its first frame.
    """

    def __init__(self, replay: Replay, *, socket: bool, deaf: bool = False) -> None:
        self.now = 1_000_000.0
        self.replay = replay
        self.server = Server(replay)
        self.ran: list[str] = []
        """The prompt_ids that `comfyui_job_start_timestamp_seconds` showed, in order, each once."""
        self._with_socket = socket
        self._deaf = deaf
        self._signals = Signals()
        classifier = FailureClassifier()
        ids = itertools.count()
        self._tracker = Tracker(lambda: f"run{next(ids)}", classifier.classify)
        self._store = MetricStore(Config().buckets.model_dump())
        self._sink = MetricSink(self._store, lambda at: at, classifier.ids)
        self._sink.add_server(SERVER)
        self._failed: deque[Run] = deque()
        self._unanswered = 0
        self._up: bool | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._socket_boots = 0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self.server.follow()
        self._client = ComfyUIClient(self.server.url)
        self._client.on_reconnect = self._signals.connection_broke
        self._poller = Poller(self._client, self._tracker, self._signals, lambda: self.now, self._emit)
        self._stack.push_async_callback(self._client.close)
        self._stack.push_async_callback(self.server.stop)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def replay_all(self) -> None:
        """Look at each moment of the recording, and then for long enough that everything that can be known is."""
        for _ in self.replay.moments():
            await self.look()
        await self.settle()

    async def replay_in_time(self) -> None:
        """Live through the recording in its own time: frames and what is due wake, every two seconds is a poll."""
        await self.look()
        began = self.now
        next_poll = began + INTERVAL
        moments = self.replay.moments()
        for ms in list(Replay(self.replay.recording).moments()):
            at = began + ms / 1000
            while (wakes := min(next_poll, max(self._poller.due or next_poll, self.now + SHORTEST_WAIT))) < at:
                self.now = wakes
                await self._cycle(ask=wakes == next_poll)
                if wakes == next_poll:
                    next_poll += INTERVAL
                self._show()
            self.now = at
            next(moments)
            if await self._listen():
                await self._cycle(ask=False)
                self._show()
        await self.settle()

    async def settle(self, seconds: float = 8 * PAST_GRACE) -> None:
        until = self.now + seconds
        while self.now < until:
            await self.look(PAST_GRACE)

    async def look(self, seconds: float = INTERVAL) -> None:
        """Hear what was broadcast, which wakes the poller, and poll again when the next poll is due."""
        if await self._listen():
            await self._cycle(ask=False)
        self.now += seconds
        await self._cycle(ask=True)
        self._show()

    # The socket

    async def _listen(self) -> bool:
        """Hear all that was sent; True if the socket opened or a frame came."""
        if self._deaf:
            self.replay.frames.clear()
        frames = await self.server.follow()
        if not self._with_socket:
            return False
        if self._socket is not None:
            for _ in range(frames):
                await self._hear(self._socket)
            if self._socket_boots != self.replay.boots or not self.replay.up:
                message = await self._socket.receive(timeout=5)
                assert message.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
                assert self._socket.close_code == 1006
                self._socket = None
                self._signals.closed()
        if self._socket is None and self.replay.up:
            self._socket = await self._stack.enter_async_context(self._client.socket("comfyui-exporter-test", 20.0))
            self._socket_boots = self.replay.boots
            self._signals.opened()
            await self._hear(self._socket)
            return True
        return frames > 0

    async def _hear(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        _, event = read_frame(await socket.receive_str(timeout=5), self.now)
        if isinstance(event, StatusEvent):
            self._signals.heard(event.queue_remaining)
        elif not isinstance(event, OtherEvent):
            self._poller.hear(event)

    # Polling

    async def _cycle(self, *, ask: bool) -> None:
        answers = self._poller.answers
        try:
            await self._poller.cycle(ask=ask)
        except ReadError as error:
            if self.replay.up or error.kind is not ErrorKind.CONNECTION:
                raise
            self._signals.connection_broke(refused=error.refused)
            self._unanswered += ask
            if self._unanswered >= TRIES_UNTIL_DOWN:
                self._up = False
        if self._poller.answers != answers:
            self._unanswered, self._up = 0, True

    def _emit(self, changes: list[Transition]) -> None:
        self._failed.extendleft(
            change.run for change in changes if isinstance(change, Ended) and change.run.state is State.FAILED
        )
        self._sink.transitions(SERVER, changes)

    def _show(self) -> None:
        remaining = self._poller.remaining
        running = None if remaining is None else min(remaining, 1)
        view = ServerView(
            up=self._up,
            event_stream_connected=self._signals.socket_open,
            last_success=None,
            last_activity=self._tracker.last_activity,
            running=running,
            pending=None if remaining is None or running is None else remaining - running,
            open_runs=in_queue_order(self._tracker.open_runs),
            failed_runs=tuple(self._failed),
            stats=None,
        )
        self._sink.view(SERVER, view, self.now)
        for (prompt_id,) in self.samples("comfyui_job_start_timestamp_seconds", "prompt_id"):
            if prompt_id not in self.ran:
                self.ran.append(prompt_id)

    # What a scrape shows

    def scrape(self) -> str:
        return b"".join(self._store.render(openmetrics=False)).decode()

    def samples(self, name: str, *labels: str) -> Samples:
        """The samples of that name by the values of some labels; those that fall together are added."""
        found: Samples = {}
        for family in text_string_to_metric_families(self.scrape()):
            for sample in family.samples:
                if sample.name == name:
                    assert sample.labels["server"] == SERVER
                    key = tuple(sample.labels[label] for label in labels)
                    found[key] = found.get(key, 0.0) + sample.value
        return found
