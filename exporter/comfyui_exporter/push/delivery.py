"""Hands news over to sockets, a slice of the clients at a time, so that nothing else in the loop has to wait long."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Protocol

from comfyui_exporter.push.audience import Group, Round
from comfyui_exporter.push.news import News
from comfyui_exporter.push.outbox import Outbox
from comfyui_exporter.push.ports import Counts

log = logging.getLogger("comfyui_exporter.push")

SLICE = 250
"""Clients served before others in the loop have their turn: a few milliseconds, as a write takes about 10 us."""

CHUNKS = 16
"""Pieces of what waited (snapshots mostly, up to 64 KiB each) that are written in one turn: about as long."""


class Receiver(Protocol):
    """A client, as far as delivering goes."""

    direct: bool
    """Whether nothing waits for it and its socket takes more: bytes can be written at once."""
    joined: int
    """Number of the newest round that it is not to get: its snapshot told it all of that."""

    def write(self, data: bytes) -> None:
        """Write to the socket."""

    def keep(self, news: Sequence[News]) -> None:
        """Let news wait."""

    def pump(self) -> None:
        """Write a piece of what waits."""

    def abort(self) -> None:
        """Give up."""


class Delivery:
    """The rounds of all groups, one after the other.

    News that come while a round of their group is under way wait for its next one, where the newest of each job is
    enough: the busier it gets, the more goes into one write.
    """

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._number = 0
        self._queue: deque[Group[Any]] = deque()
        self._current: tuple[Group[Any], Round[Any]] | None = None
        self._pumps: dict[Receiver, None] = {}
        self._scheduled = False

    def put(self, group: Group[Any], news: News) -> None:
        """Tell a group with its next round."""
        if group.waiting is None:
            group.waiting = Outbox()
        if group.waiting.put(news):
            self._counts.dropped(len(group.clients))
        if not group.queued:
            group.queued = True
            self._queue.append(group)
        self._schedule()

    def join(self, group: Group[Any], client: Receiver) -> None:
        """Add a client, which is not to get what the group was told so far."""
        if group.waiting:
            if group.rounds is None:
                group.rounds = deque()
            group.rounds.append(self._close(group))
        group.clients.add(client)
        client.joined = self._number

    def later(self, client: Receiver) -> None:
        """Let a client write more of what waits for it, in a later turn."""
        self._pumps[client] = None
        self._schedule()

    def forget(self, client: Receiver) -> None:
        """Let a client wait for no turn any more."""
        self._pumps.pop(client, None)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        left = SLICE
        while left > 0 and (self._current is not None or self._begin()):
            left -= self._go_on(left)
        for client in list(islice(self._pumps, CHUNKS)):
            del self._pumps[client]
            self._guarded(client, client.pump)
        if self._current is not None or self._queue or self._pumps:
            self._schedule()

    def _begin(self) -> bool:
        while self._queue:
            group = self._queue.popleft()
            group.queued = False
            if group.rounds:
                self._current = group, group.rounds.popleft()
                return True
            if group.waiting:
                self._current = group, self._close(group)
                return True
        return False

    def _close(self, group: Group[Any]) -> Round[Any]:
        self._number += 1
        news = group.waiting.take() if group.waiting is not None else []
        group.waiting = None
        return Round(self._number, news, tuple(group.clients))

    def _go_on(self, most: int) -> int:
        assert self._current is not None  # noqa: S101
        group, current = self._current
        number, data = current.number, current.data
        clients = current.recipients[current.at : current.at + most]
        written = 0
        for client in clients:
            if client.joined >= number:
                continue
            try:
                if client.direct:
                    client.write(data)
                    written += 1
                else:
                    client.keep(current.news)
            except Exception:
                log.exception("a push client failed")
                client.abort()
        current.at += len(clients)
        self._counts.sent(written * len(current.news))
        if current.at >= len(current.recipients):
            self._current = None
            if not group.queued and (group.rounds or group.waiting):
                group.queued = True
                self._queue.append(group)
        return max(1, len(clients))

    @staticmethod
    def _guarded(client: Receiver, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            log.exception("a push client failed")
            client.abort()
