"""The package as a library: one monitor of one ComfyUI inside a program of yours."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

from prometheus_client import CollectorRegistry

from comfyui_exporter.comfyui.client import ComfyUIClient
from comfyui_exporter.config.model import Config
from comfyui_exporter.config.sections import Push, Store
from comfyui_exporter.config.servers import ServerConfig
from comfyui_exporter.feed import Feed
from comfyui_exporter.jobs.board import Reader
from comfyui_exporter.jobs.update import ProgressUpdate
from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.collector import StoreCollector
from comfyui_exporter.monitor import Monitor
from comfyui_exporter.push.local import statistics_of
from comfyui_exporter.push_service import PushService
from comfyui_exporter.watch.source import Connector
from comfyui_exporter.web.headers import add_headers
from comfyui_exporter.web.server import WebServer

log = logging.getLogger("comfyui_exporter.library")

PROGRESS_EVERY = 1.0
"""Seconds between calls of the database for the progress of one job; changes of status are written at once."""

FIRST_LOOK = 2.0
"""Seconds that a ComfyUI which does not answer may hold up the start."""

Callback = Callable[[ProgressUpdate], Awaitable[None] | None]


class DatabaseManager(Protocol):
    """Where updates are written to."""

    async def update_job(self, update: ProgressUpdate) -> None:
        """Write one; it may take its time and may fail."""
        ...


class StatusMonitor(Reader):
    """Watches one ComfyUI, and tells of its jobs by callback, iteration, database and WebSocket.

    Args:
        comfyui_connector: The ComfyUI; without one, that of COMFYUI_URL or http://127.0.0.1:8188. One that is given is
            yours to close.
        database_manager: Anything with `async def update_job(update)`.
        poll_interval: Seconds between questions for what changed; changes are heard of at once all the same.
        websocket_port: Where the push service listens on loopback; 0 takes a free port, None leaves it out.
        job_timeout: Seconds after which a running job is reported as timeout; None: never.
        stall_timeout: Seconds without a sign of progress after which a running job is flagged.
        store: Where to keep jobs: `sqlite:///PATH` or `postgresql://...`; with None or "memory" no file is written.
        all_jobs: Whether callbacks, `updates` and database get all jobs, and not only those of `monitor_job`.

    Raises:
        ValueError: a value is not allowed.

    """

    def __init__(
        self,
        comfyui_connector: Connector | None = None,
        database_manager: DatabaseManager | None = None,
        poll_interval: float = 2.0,
        websocket_port: int | None = 8329,
        *,
        job_timeout: float | None = None,
        stall_timeout: float = 600.0,
        store: str | None = None,
        all_jobs: bool = False,
    ) -> None:
        self._own = comfyui_connector is None
        self._connector = comfyui_connector if comfyui_connector is not None else ComfyUIClient()
        server = ServerConfig(
            url=getattr(self._connector, "url", None) or "http://127.0.0.1:8188",
            job_timeout=job_timeout,
            stall_timeout=stall_timeout,
        )
        config = Config(poll_interval=poll_interval, servers=(server,), store=Store(url=store))
        self._monitor = Monitor(config, connectors={server.name: self._connector})
        self._port = websocket_port
        self._database = database_manager
        self._all_jobs = all_jobs
        self._bound: dict[str, str] = {}
        self._prompts: dict[str, str] = {}
        self._runs: dict[str, str] = {}
        self._callbacks: list[tuple[Callback, Feed, asyncio.Task[None] | None]] = []
        self._feeds: list[Feed] = []
        self._database_feed = Feed()
        self._tasks: list[asyncio.Task[None]] = []
        self._push: PushService | None = None
        self._server: WebServer | None = None
        self._running = False
        self.registry = CollectorRegistry(auto_describe=False)
        """For your own /metrics: `prometheus_client.generate_latest(monitor.registry)`."""
        self.registry.register(StoreCollector(self._monitor.metrics))
        self._monitor.board.add_reader(self)

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start_monitoring()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop_monitoring()

    async def start_monitoring(self) -> None:
        """Begin to watch, and have a first look if ComfyUI is up; it need not be. A second call changes nothing.

        Raises:
            OSError: the port of the push service is taken.
            StoreRefusedError: the store cannot be used, and the message says why.

        """
        if self._running:
            return
        self._running = True
        try:
            await self._monitor.open()
            if self._port is not None:
                self._push = PushService(self._monitor, Push())
                add_headers(self._push.app)
                self._server = WebServer(self._push.app)
                _, self._port = await self._server.listen("127.0.0.1", self._port)
        except BaseException:
            self._running = False
            await self._close()
            raise
        self._monitor.start()
        if self._database is not None:
            self._tasks.append(asyncio.create_task(self._write(self._database), name="database"))
        self._callbacks = [
            (callback, feed, self._call_task(callback, feed) if task is None else task)
            for callback, feed, task in self._callbacks
        ]
        # What ends before the first look is never known; whoever submits after this call is not to be too early.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK):
                await self._monitor.first_look()

    async def stop_monitoring(self) -> None:
        """Stop watching, hand out what waits, and close what was opened. A second call changes nothing."""
        if not self._running:
            return
        self._running = False
        await self._close()
        feeds = [self._database_feed, *self._feeds, *(feed for _, feed, _ in self._callbacks)]
        for feed in feeds:
            feed.close()
        tasks = [*self._tasks, *(task for _, _, task in self._callbacks if task is not None)]
        # A callback that stops the monitor cannot wait for itself; its feed is closed, so it ends after this.
        tasks = [task for task in tasks if task is not asyncio.current_task()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_GOODBYE)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        self._feeds.clear()
        self._database_feed = Feed()
        self._callbacks = [(callback, Feed(), None) for callback, _, _ in self._callbacks]
        if self._own:
            await self._connector.close()

    async def _close(self) -> None:
        await self._monitor.stop()
        if self._push is not None:
            await self._push.close()
        if self._server is not None:
            await self._server.close()
        self._push = self._server = None

    @property
    def websocket_port(self) -> int | None:
        """Where the push service listens; None if it does not."""
        return self._port

    # Jobs

    def monitor_job(
        self, job_id: int | str, comfyui_prompt_id: str, job_type: str = "unknown", batch_id: str | None = None
    ) -> bool:
        """Say which job of yours a prompt is, before or after it was submitted and whether monitoring started or not.

        False, and nothing changes, if the job_id is bound to another prompt.
        """
        key = str(job_id)
        if self._bound.setdefault(key, comfyui_prompt_id) != comfyui_prompt_id:
            return False
        self._prompts[comfyui_prompt_id] = key
        self._monitor.register(
            job_id=job_id,
            prompt_id=comfyui_prompt_id,
            job_type=None if job_type == "unknown" else job_type,
            batch_id=batch_id,
        )
        known = self._monitor.board.find(prompt_id=comfyui_prompt_id)
        # Tagged as it is registered now, the board has nothing new to tell; and if it ended, nothing ever comes.
        if known is not None and known.run_id not in self._runs:
            self.job(known)
        return True

    async def get_progress(self, job_id: int | str) -> ProgressUpdate | None:
        """Give the newest update of a job; None if it is unknown, or ended long ago."""
        return self._monitor.board.find(job_id=job_id)

    async def estimate_completion(self, job_id: int | str) -> datetime | None:
        """When a job will be done, timezone-aware; when it ended, if it did; None without an estimate."""
        update = self._monitor.board.find(job_id=job_id)
        return None if update is None else update.ended_at or update.estimated_completion

    async def get_queue_statistics(self) -> dict[str, Any]:
        """Give running_jobs, pending_jobs, monitored_jobs and generation_stats (seconds, of completed jobs)."""
        statistics = statistics_of(self._monitor.board)
        statistics["monitored_jobs"] = sum(
            not update.terminal and self._concerns(update) for update in self._monitor.board.jobs
        )
        return statistics

    # Updates

    def add_progress_callback(self, callback: Callback) -> None:
        """Call this with each update, from a task of its own; async ones are awaited."""
        feed = Feed()
        self._callbacks.append((callback, feed, self._call_task(callback, feed) if self._running else None))

    def remove_progress_callback(self, callback: Callback) -> None:
        """Call it no more; one that was never added is passed over."""
        for known in [known for known in self._callbacks if known[0] == callback]:
            self._callbacks.remove(known)
            if known[2] is not None:
                known[2].cancel()

    async def updates(self) -> AsyncIterator[ProgressUpdate]:
        """Iterate over updates from now on, until monitoring stops."""
        feed = Feed()
        self._feeds.append(feed)
        try:
            async for update in feed:
                yield update
        finally:
            if feed in self._feeds:
                self._feeds.remove(feed)

    def _call_task(self, callback: Callback, feed: Feed) -> asyncio.Task[None]:
        return asyncio.create_task(self._call(callback, feed), name="progress callback")

    async def _call(self, callback: Callback, feed: Feed) -> None:
        async for update in feed:
            try:
                result = callback(update)
                if inspect.isawaitable(result):
                    await result
            except Exception:
                log.exception("a progress callback failed")
                self._monitor.metrics.inc(families.SINK_ERRORS, None, ("callback",))

    async def _write(self, database: DatabaseManager) -> None:
        loop = asyncio.get_running_loop()
        written: dict[str, tuple[str, float]] = {}
        async for update in self._database_feed:
            status, at = written.get(update.run_id, ("", 0.0))
            if update.status == status and loop.time() - at < PROGRESS_EVERY:
                continue
            written[update.run_id] = (update.status, loop.time())
            if update.terminal:
                del written[update.run_id]
            try:
                await database.update_job(update)
            except Exception:
                log.exception("the database did not take an update")
                self._monitor.metrics.inc(families.SINK_ERRORS, None, ("database",))

    # What the board tells

    def _concerns(self, update: ProgressUpdate) -> bool:
        return self._all_jobs or update.comfyui_prompt_id in self._prompts

    def job(self, update: ProgressUpdate) -> None:
        """Hand an update on."""
        if not self._concerns(update):
            return
        self._runs[update.run_id] = update.comfyui_prompt_id
        if self._database is not None:
            self._database_feed.put(update)
        for feed in (*self._feeds, *(feed for _, feed, _ in self._callbacks)):
            feed.put(update)

    def removed(self, run_id: str) -> None:
        """Forget what is bound to a prompt that nobody knows of any more."""
        prompt = self._runs.pop(run_id, None)
        if prompt is not None and self._monitor.board.find(prompt_id=prompt) is None and prompt in self._prompts:
            self._bound.pop(self._prompts.pop(prompt), None)


_GOODBYE = 5.0
"""Seconds that callbacks and database get to take what waits when monitoring stops."""


async def create_status_monitor(
    comfyui_connector: Connector | None = None,
    database_manager: DatabaseManager | None = None,
    poll_interval: float = 2.0,
    websocket_port: int | None = 8329,
    *,
    auto_start: bool = True,
    job_timeout: float | None = None,
    stall_timeout: float = 600.0,
    store: str | None = None,
    all_jobs: bool = False,
) -> StatusMonitor:
    """Make a StatusMonitor, and start it unless told otherwise.

    Raises:
        OSError: the port of the push service is taken.
        ValueError: a value is not allowed.

    """
    monitor = StatusMonitor(
        comfyui_connector,
        database_manager,
        poll_interval,
        websocket_port,
        job_timeout=job_timeout,
        stall_timeout=stall_timeout,
        store=store,
        all_jobs=all_jobs,
    )
    if auto_start:
        await monitor.start_monitoring()
    return monitor
