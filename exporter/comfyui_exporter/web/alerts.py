"""`/api/v1/alerts`: the inbox of Alertmanager, and what is in it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from comfyui_exporter.alerts.book import AlertBook, Kept
from comfyui_exporter.alerts.webhook import read_notification
from comfyui_exporter.web.body import read_object
from comfyui_exporter.web.errors import ApiError
from comfyui_exporter.web.guard import WriteGuard

log = logging.getLogger("comfyui_exporter.web")

LARGEST_BODY = 4 * 1024 * 1024
"""Bytes: a thousand alerts of 4 kB."""

_KEEP_PATIENCE = 1.0
"""Seconds that Alertmanager waits for the store; what one that is away misses, it gets later."""


@dataclass(frozen=True, slots=True)
class AlertsApi:
    """What it answers from. `wall` turns the book's time into Unix time, `kept` waits until the store has it."""

    book: AlertBook
    guard: WriteGuard
    wall: Callable[[float], float]
    kept: Callable[[float], Awaitable[bool]]

    def add_to(self, app: web.Application) -> None:
        """Add the routes; errors become answers by what `Api` adds."""
        app.router.add_get("/api/v1/alerts", self._list)
        app.router.add_post("/api/v1/alerts", self._take)

    async def _list(self, request: web.Request) -> web.Response:
        self.book.forget()
        servers = request.query.getall("server", None)
        firing = [kept for kept in self.book.firing if servers is None or kept.alert.labels.get("server") in servers]
        firing.sort(key=lambda kept: kept.alert.starts_at or _LONG_AGO, reverse=True)
        return web.json_response({"items": [self._item(kept) for kept in firing]})

    async def _take(self, request: web.Request) -> web.Response:
        self.guard.check(request)
        try:
            notification = read_notification(await read_object(request, LARGEST_BODY))
        except ValueError as error:
            raise ApiError(400, "bad_request", str(error)) from None
        if notification.unusable:
            log.warning("alerts of a notification are not usable", extra={"alerts": notification.unusable})
            if not notification.alerts:
                raise ApiError(400, "bad_request", "none of the alerts is as Alertmanager writes them")
        taken = sum([self.book.take(alert) for alert in notification.alerts])
        await self.kept(_KEEP_PATIENCE)
        return web.json_response({"taken": taken, "unusable": notification.unusable})

    def _item(self, kept: Kept) -> dict[str, Any]:
        heard = datetime.fromtimestamp(self.wall(kept.heard_at), UTC)
        return {**kept.alert.data(), "updatedAt": heard.isoformat()}


_LONG_AGO = datetime.min.replace(tzinfo=UTC)
