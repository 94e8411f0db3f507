"""Follows an exporter by its push socket, over lost connections and restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import aiohttp

from comfyui_exporter.terminal.exporter import Exporter, Query, UnreachableError
from comfyui_exporter.terminal.messages import Message, read

FIRST_WAIT, LONGEST_WAIT = 0.5, 5.0
"""Seconds."""

_IN_A_ROW = 100
"""Messages that are taken before others in the loop have their turn."""


class Waits:
    """How long to wait between tries: twice as long each time, up to a few seconds, as somebody looks on.

    `jitter` gives a number from 0 to 1, so that those who lost the same exporter do not come back all at once.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._failures = 0

    def failed(self) -> float:
        """Give the seconds after one more failure."""
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(self._failures, 10))
        self._failures += 1
        return wait * (0.5 + self._jitter() / 2)

    def reset(self) -> None:
        """Forget earlier failures."""
        self._failures = 0


class Listener(Protocol):
    """Who is told."""

    def connected(self) -> None:
        """The socket is open, and a snapshot follows."""
        ...

    def heard(self, message: Message, text: str) -> bool:
        """A message came, read and as it was; whether it ended the snapshot."""
        ...

    def lost(self, why: str, wait: float) -> None:
        """The socket is closed, or could not be opened; in so many seconds it is tried again."""
        ...


async def follow(exporter: Exporter, query: Query, listener: Listener, waits: Waits) -> None:
    """Keep the socket open until cancelled.

    Raises:
        UnreachableError: the first try of all failed. Those after it may: the exporter is there, and will be again.
        RefusedError: it says no.

    """
    while True:
        try:
            socket = await exporter.socket(query)
        except UnreachableError as error:
            if not exporter.followed:
                raise
            why = str(error)
        else:
            async with socket:
                listener.connected()
                await _listen(socket, listener, waits)
            why = "the exporter closed the connection"
        wait = waits.failed()
        listener.lost(why, wait)
        await asyncio.sleep(wait)


async def _listen(socket: aiohttp.ClientWebSocketResponse, listener: Listener, waits: Waits) -> None:
    in_a_row = 0
    async for frame in socket:
        if frame.type is not aiohttp.WSMsgType.TEXT:
            continue
        try:
            if listener.heard(read(frame.data, Message), frame.data):
                # A connection that told everything is one: the next loss is a new one.
                waits.reset()
        except ValueError:
            # Of a later version, or damaged: the rest can still be understood.
            continue
        in_a_row += 1
        if in_a_row % _IN_A_ROW == 0:
            await asyncio.sleep(0)
