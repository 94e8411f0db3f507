"""Who is notified: keeps each message of Alertmanager, with the time at which it came."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aiohttp import web


@dataclass(slots=True)
class Message:
    """One notification."""

    at: float
    body: dict[str, Any]
    repeats: bool
    """It says what the one before of its group said."""

    @property
    def alertname(self) -> str:
        """Of all its alerts."""
        return str(self.body["groupLabels"].get("alertname", ""))

    @property
    def job(self) -> str:
        """Of all its alerts; "" where they have none."""
        return str(self.body["groupLabels"].get("job", ""))

    @property
    def firing(self) -> list[dict[str, Any]]:
        """Alerts that it says are firing."""
        return [alert for alert in self.body["alerts"] if alert["status"] == "firing"]

    @property
    def over(self) -> list[dict[str, Any]]:
        """Alerts that it says are resolved."""
        return [alert for alert in self.body["alerts"] if alert["status"] == "resolved"]

    def state(self) -> set[tuple[str, str]]:
        """What it says."""
        return {(alert["fingerprint"], alert["status"]) for alert in self.body["alerts"]}


@dataclass(slots=True)
class Notified:
    """All messages, oldest first."""

    url: str = ""
    messages: list[Message] = field(default_factory=list)
    watchdog: list[float] = field(default_factory=list)
    """When it was heard."""
    deaf: bool = False
    """Answers 500 and keeps nothing, as a receiver whose token was revoked."""
    refused: int = 0
    _last: dict[str, set[tuple[str, str]]] = field(default_factory=dict)

    def of(self, alertname: str, job: str) -> list[Message]:
        """The messages of one group."""
        return [message for message in self.messages if (message.alertname, message.job) == (alertname, job)]

    def about(self, job: str) -> list[Message]:
        """The messages of a job."""
        return [message for message in self.messages if message.job == job]

    async def inbox(self, request: web.Request) -> web.Response:
        """Take a message."""
        body = await request.json()
        if self.deaf:
            self.refused += 1
            return web.Response(status=500, text="no")
        message = Message(time.time(), body, repeats=False)
        state = message.state()
        message.repeats = self._last.get(body["groupKey"]) == state
        self._last[body["groupKey"]] = state
        self.messages.append(message)
        return web.Response(text="ok")

    async def hear_watchdog(self, _: web.Request) -> web.Response:
        """Take note that all is well."""
        self.watchdog.append(time.time())
        return web.Response(text="ok")


def started(alert: dict[str, Any]) -> float:
    """Since when it fires."""
    return datetime.fromisoformat(alert["startsAt"]).timestamp()


def servers(alerts: Iterable[dict[str, Any]]) -> list[str]:
    """Which servers they are about."""
    return sorted({alert["labels"].get("server", "") for alert in alerts})


@asynccontextmanager
async def receiver() -> AsyncIterator[Notified]:
    """Somebody who is notified over HTTP."""
    notified = Notified()
    app = web.Application(client_max_size=16 << 20)
    app.router.add_post("/api/v1/alerts", notified.inbox)
    app.router.add_post("/watchdog", notified.hear_watchdog)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        notified.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield notified
    finally:
        await runner.cleanup()
