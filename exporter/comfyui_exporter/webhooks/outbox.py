"""Where deliveries wait: a protocol for stores, and the one in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Protocol

from comfyui_exporter.webhooks.delivery import Delivery

MOST_WAITING = 10_000
"""Deliveries in memory, of about 2 kB each."""


class Outbox(Protocol):
    """Keeps each delivery from `add` until `delivered` or `buried`.

    One sender reads it. `receivers` are values of `Delivery.receiver` that are busy now: what waits for them is left
    out, so that many deliveries to one that is slow hide nobody else's. The coroutines may raise when a store is away:
    the sender then asks again later, and sends nothing meanwhile to the receiver that it could not note a result for.
    """

    def add(self, delivery: Delivery) -> None:
        """Keep a new one. Called in the moment in which the job changed, and becomes durable together with that."""
        ...

    def attend(self, wake: Callable[[], None]) -> None:
        """Call this, in the loop, whenever one that was added can be found by `due`."""
        ...

    async def due(self, at: float, limit: int, receivers: Collection[str]) -> list[Delivery]:
        """Give those whose `next_at` has come, in the order of `created_at`, committed ones only."""
        ...

    async def next_due(self, receivers: Collection[str]) -> float | None:
        """Give the lowest `next_at`; None if nothing waits."""
        ...

    async def delivered(self, delivery_id: str) -> None:
        """It arrived: forget it. An unknown id is nothing to complain of, here and below."""
        ...

    async def postponed(self, delivery: Delivery) -> None:
        """A try failed: keep these `attempts` and `next_at` under its id."""
        ...

    async def buried(self, delivery_id: str) -> None:
        """It will not be tried again: forget it, or keep it where `due` and `next_due` do not look."""
        ...


class MemoryOutbox:
    """An Outbox that ends with the process. Past `most`, the oldest make room; `dropped` is called for each."""

    def __init__(self, dropped: Callable[[], None], most: int = MOST_WAITING) -> None:
        self._dropped = dropped
        self._most = most
        self._waiting: dict[str, Delivery] = {}
        self._wake: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, delivery: Delivery) -> None:
        """Keep a new one."""
        self._waiting[delivery.delivery_id] = delivery
        if len(self._waiting) > self._most:
            del self._waiting[next(iter(self._waiting))]
            self._dropped()
        self._wake()

    def attend(self, wake: Callable[[], None]) -> None:
        """Call this for each one that is added."""
        self._wake = wake

    async def due(self, at: float, limit: int, receivers: Collection[str]) -> list[Delivery]:
        """Give those whose time has come, oldest first."""
        return list(islice((delivery for delivery in self._for_others(receivers) if delivery.next_at <= at), limit))

    async def next_due(self, receivers: Collection[str]) -> float | None:
        """Give the earliest time."""
        return min((delivery.next_at for delivery in self._for_others(receivers)), default=None)

    async def delivered(self, delivery_id: str) -> None:
        """It arrived."""
        self._waiting.pop(delivery_id, None)

    async def postponed(self, delivery: Delivery) -> None:
        """Keep it for later; not if it had to make room meanwhile."""
        if delivery.delivery_id in self._waiting:
            self._waiting[delivery.delivery_id] = delivery

    async def buried(self, delivery_id: str) -> None:
        """It will not be tried again."""
        self._waiting.pop(delivery_id, None)

    def _for_others(self, receivers: Collection[str]) -> Iterator[Delivery]:
        return (delivery for delivery in self._waiting.values() if delivery.receiver not in receivers)
