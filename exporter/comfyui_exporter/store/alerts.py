"""Alerts in the store: what fired is known again after a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec
from sqlalchemy import select

from comfyui_exporter.alerts.alert import Alert
from comfyui_exporter.alerts.webhook import read_alert
from comfyui_exporter.store.database import Database
from comfyui_exporter.store.errors import StoreAwayError
from comfyui_exporter.store.log import JobLog
from comfyui_exporter.store.schema import ALERTS

log = logging.getLogger("comfyui_exporter.store")


class StoredAlerts:
    """Writes with the job log, once. `wall` and `stamp` turn our time into Unix time and back."""

    def __init__(
        self, database: Database, job_log: JobLog, wall: Callable[[float], float], stamp: Callable[[float], float]
    ) -> None:
        self._database = database
        self._log = job_log
        self._wall = wall
        self._stamp = stamp

    def keep(self, alert: Alert, heard_at: float) -> None:
        """Note that it was heard of, or that it is over."""
        row = {
            "alert_id": alert.identity,
            "body": msgspec.json.encode(alert.data()).decode(),
            "heard_at": self._wall(heard_at),
        }
        self._log.alert(alert.identity, row if alert.firing else None)

    async def restored(self) -> list[tuple[Alert, float]]:
        """Read those that fired, and when they were heard of, in that order; none if they cannot be read."""
        try:
            rows = await self._database.rows(select(ALERTS).order_by(ALERTS.c.heard_at))
        except StoreAwayError as error:
            # They are repeated within minutes: nothing to end for.
            log.warning("the alerts of before cannot be read: %s", error)
            return []
        restored = []
        for row in rows:
            try:
                restored.append((read_alert(msgspec.json.decode(row["body"])), self._stamp(row["heard_at"])))
            except (ValueError, TypeError, msgspec.MsgspecError):
                # Of an exporter that took what this one does not.
                self._log.alert(row["alert_id"], None)
        return restored
