"""Finds out who is not there any more: one timer for all clients."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

_TICKS = 30
"""In which an interval is divided, so that the pings of those who came together do not all go out at once."""

_MOST = 500
"""Pings in a row before others in the loop have their turn."""


class Listener(Protocol):
    """A client, as far as its heart goes."""

    due: float
    closing: bool

    @property
    def half_open(self) -> bool:
        """Whether nothing was heard since the last ping."""

    def ping(self) -> None:
        """Ask whether it is there."""

    def abort(self) -> None:
        """Give up."""


class Heartbeat:
    """Pings each client every `interval` seconds and aborts it if nothing at all came from it until the next.

    Also aborts those that were told to close and did not within `leave` seconds. Runs while there is somebody.
    """

    def __init__(self, interval: float, leave: float, now: Callable[[], float]) -> None:
        self._interval = interval
        self._leave = leave
        self._now = now
        # Each interval is the same, so who is appended now is due last.
        self._due: deque[Listener] = deque()
        self._leaving: deque[tuple[float, Listener]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, client: Listener) -> None:
        """Begin with a client; one that is closed is forgotten by itself."""
        client.due = self._now() + self._interval
        self._due.append(client)
        self._schedule()

    def closing(self, client: Listener) -> None:
        """Give a client a moment to leave."""
        self._leaving.append((self._now() + self._leave, client))
        self._schedule()

    def stop(self) -> None:
        """Forget everybody."""
        self._due.clear()
        self._leaving.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def beat(self) -> bool:
        """Do what is due; whether more is due already."""
        now = self._now()
        while self._leaving and self._leaving[0][0] <= now:
            # Nothing happens to one that is gone.
            self._leaving.popleft()[1].abort()
        for _ in range(_MOST):
            if not self._due or self._due[0].due > now:
                return False
            client = self._due.popleft()
            if client.closing:
                continue
            if client.half_open:
                client.abort()
                continue
            client.ping()
            client.due = now + self._interval
            self._due.append(client)
        return True

    def _schedule(self, delay: float | None = None) -> None:
        if self._timer is None and (self._due or self._leaving):
            shortest = min(self._interval, self._leave)
            wait = shortest / _TICKS if delay is None else delay
            self._timer = asyncio.get_running_loop().call_later(wait, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._schedule(0.0 if self.beat() else None)
