"""Webhook deliveries in the store: written with the change that they tell of, and sent after that commit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, func, select

from comfyui_exporter.store.batch import Batch, Row
from comfyui_exporter.store.database import Database
from comfyui_exporter.store.log import JobLog
from comfyui_exporter.store.schema import WEBHOOKS
from comfyui_exporter.webhooks.delivery import Delivery


class StoredOutbox:
    """An outbox that outlives the process; see `webhooks.outbox` for what each method is for.

    Results are noted by the job log too, and waited for: who asks for what is due never gets what was done already.
    While the store is away that takes as long as it is.
    """

    def __init__(self, database: Database, log: JobLog) -> None:
        self._database = database
        self._log = log
        self._wake: Callable[[], None] = lambda: None
        log.after_commit.append(self._committed)

    def add(self, delivery: Delivery) -> None:
        """Keep a new one."""
        self._log.deliver(delivery.delivery_id, _row(delivery))

    def attend(self, wake: Callable[[], None]) -> None:
        """Call this when one that was added is committed."""
        self._wake = wake

    async def due(self, at: float, limit: int, receivers: Collection[str]) -> list[Delivery]:
        """Give those whose time has come, oldest first."""
        rows = await self._database.rows(
            select(WEBHOOKS)
            .where(WEBHOOKS.c.next_at <= at, *_of_others(receivers))
            .order_by(WEBHOOKS.c.created_at)
            .limit(limit)
        )
        return [_delivery(row) for row in rows]

    async def next_due(self, receivers: Collection[str]) -> float | None:
        """Give the earliest time."""
        rows = await self._database.rows(
            select(func.min(WEBHOOKS.c.next_at).label("next_at")).where(*_of_others(receivers))
        )
        next_at: float | None = rows[0]["next_at"]
        return next_at

    async def delivered(self, delivery_id: str) -> None:
        """It arrived."""
        await self._note(delivery_id, None)

    async def postponed(self, delivery: Delivery) -> None:
        """Keep it for later."""
        await self._note(delivery.delivery_id, _row(delivery))

    async def buried(self, delivery_id: str) -> None:
        """It will not be tried again."""
        await self._note(delivery_id, None)

    async def _note(self, delivery_id: str, row: Row | None) -> None:
        self._log.deliver(delivery_id, row)
        await self._log.committed()

    def _committed(self, batch: Batch) -> None:
        if any(row is not None for row in batch.deliveries.values()):
            self._wake()


def _of_others(receivers: Collection[str]) -> list[ColumnElement[bool]]:
    return [WEBHOOKS.c.receiver.not_in(sorted(receivers))] if receivers else []


def _row(delivery: Delivery) -> Row:
    return {
        "delivery_id": delivery.delivery_id,
        "hook": delivery.hook,
        "url": delivery.url,
        "receiver": delivery.receiver,
        "run_id": delivery.run_id,
        "status": delivery.status,
        "body": delivery.body,
        "created_at": delivery.created_at,
        "attempts": delivery.attempts,
        "next_at": delivery.next_at,
    }


def _delivery(row: Mapping[str, Any]) -> Delivery:
    return Delivery(**{name: value for name, value in row.items() if name != "receiver"})
