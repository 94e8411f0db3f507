"""The alerts of one process: wires book, store, push and routes."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from comfyui_exporter.alerts.alert import Alert
from comfyui_exporter.alerts.book import AlertBook
from comfyui_exporter.monitor import Monitor
from comfyui_exporter.push.hub import Hub
from comfyui_exporter.watch.clock import Clock
from comfyui_exporter.web.alerts import AlertsApi
from comfyui_exporter.web.guard import WriteGuard

log = logging.getLogger("comfyui_exporter.alerts")

LOOK_EVERY = 15.0
"""Seconds between looks for alerts that were not repeated."""


class AlertInbox:
    """Takes alerts from `open` on, forgets them until `close`. With a store they outlive the process."""

    def __init__(self, monitor: Monitor, hub: Hub, clock: Clock, *, look_every: float = LOOK_EVERY) -> None:
        self.book = AlertBook(clock.now)
        self._monitor = monitor
        self._hub = hub
        self._clock = clock
        self._look_every = look_every
        self._task: asyncio.Task[None] | None = None

    def add_to(self, app: web.Application, guard: WriteGuard) -> None:
        """Add the routes."""
        AlertsApi(self.book, guard, self._clock.wall, self._monitor.kept).add_to(app)

    async def open(self) -> None:
        """Take up what the store knows; when the monitor is open, and before anybody is served."""
        self.book.add_reader(self._push)
        if self._monitor.keeper is not None:
            stored = self._monitor.keeper.alerts(self._clock.wall, self._clock.stamp)
            self.book.add_reader(stored.keep)
            for alert, heard_at in await stored.restored():
                self.book.restore(alert, heard_at)

    def start(self) -> None:
        """Begin to forget; needs a running loop."""
        self._task = asyncio.create_task(self._forget(), name="alerts")

    async def close(self) -> None:
        """Stop forgetting, before the store ends."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _push(self, alert: Alert, _at: float) -> None:
        self._hub.alert(alert.data())

    async def _forget(self) -> None:
        while True:
            self.book.forget()
            await asyncio.sleep(self._look_every)
