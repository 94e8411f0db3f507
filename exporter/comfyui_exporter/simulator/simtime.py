"""Time for the simulator's waits: the machine's, or one that a test moves."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import Protocol


class SimTime(Protocol):
    """A clock, and waiting by it."""

    def now_ms(self) -> float:
        """ComfyUI's clock: ms since the epoch."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class RealTime:
    """The machine's clock; steps of the wall clock during a simulation are not followed."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now_ms(self) -> float:
        """Ms since the epoch."""
        return 1000 * (time.monotonic() + self._offset)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class ManualTime:
    """A clock that stands still until `advance` moves it: simulated hours take no time in a test."""

    def __init__(self, now_ms: float = 1_767_225_600_000) -> None:
        self._now_ms = now_ms
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now_ms(self) -> float:
        """Ms since the epoch."""
        return self._now_ms

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was moved so far."""
        wakened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_ms + 1000 * seconds, next(self._order), wakened))
        await wakened

    def sleeping(self, seconds: float) -> bool:
        """Whether somebody waits who is due later than in so many seconds, or just then."""
        return any(due >= self._now_ms + 1000 * seconds for due, _, wakened in self._sleepers if not wakened.done())

    async def advance(self, ms: float) -> None:
        """Move the clock, waking who waits in the order of their times, each at its own time."""
        end = self._now_ms + ms
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, wakened = heapq.heappop(self._sleepers)
            self._now_ms = max(self._now_ms, due)
            if not wakened.done():
                wakened.set_result(None)
                await _settle()
        self._now_ms = end
        await _settle()


async def _settle() -> None:
    """Let who was woken run until they wait again; a wake passes through a few turns of the loop at most."""
    for _ in range(4):
        await asyncio.sleep(0)
