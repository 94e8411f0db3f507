"""`top`: the state of an exporter, drawn while it changes, or as JSON lines."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from comfyui_exporter.terminal.exporter import Exporter, RefusedError, UnreachableError, typed
from comfyui_exporter.terminal.follow import Waits, follow
from comfyui_exporter.terminal.messages import Message, Server
from comfyui_exporter.terminal.screen import KEYS, Link, View, draw
from comfyui_exporter.terminal.state import RESULTS_READ, State
from comfyui_exporter.terminal.table import Line

_DRAW_EVERY = 0.2
"""Seconds: faster than that nobody reads, and a terminal at the end of a slow line has to keep up."""
_MEMORY_EVERY = 15.0
"""Seconds; the exporter reads it from ComfyUI no more often."""
_PAGE = 10
"""Rows that a key for a page goes on by."""


class Screen(Protocol):
    """Where it is drawn."""

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        ...

    def show(self, lines: Sequence[Line]) -> None:
        """Draw a whole screen."""
        ...


class Top:
    """Follows an exporter and draws what it knows. `servers`: these alone."""

    def __init__(self, exporter: Exporter, servers: Sequence[str] = ()) -> None:
        self.state = State()
        self.view = View()
        self._exporter = exporter
        self._servers = servers
        self._due = asyncio.Event()
        self._begun = asyncio.Event()
        self._over = asyncio.Event()
        self._news = asyncio.Event()
        """A snapshot is complete: the rest is to be read anew."""
        self._trouble = ""
        self._next_try = 0.0
        self._last_heard: datetime | None = None

    async def run(self, open_screen: Callable[[], contextlib.AbstractContextManager[Screen]], waits: Waits) -> None:
        """Draw until a key or a signal ends it.

        Raises:
            UnreachableError: the exporter is not there at the start.
            RefusedError: it says no.

        """
        query = [("server", server) for server in self._servers]
        following = asyncio.create_task(follow(self._exporter, query, self, waits))
        reading = asyncio.create_task(self._read())
        following.add_done_callback(lambda _: self._over.set())
        try:
            # An address that is wrong is better told without a screen.
            await _first_of(self._begun.wait(), self._over.wait())
            if not self._over.is_set():
                with open_screen() as screen:
                    drawing = asyncio.create_task(self._draw(screen))
                    drawing.add_done_callback(lambda _: self._over.set())
                    await self._over.wait()
                    drawing.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await drawing
            if following.done():
                following.result()
        finally:
            following.cancel()
            reading.cancel()
            await asyncio.gather(following, reading, return_exceptions=True)

    def stop(self) -> None:
        """End it."""
        self._over.set()

    def redraw(self) -> None:
        """Draw soon: something has changed."""
        self._due.set()

    def pressed(self, key: str) -> None:
        """Do what a key is for."""
        view = self.view
        if view.typing:
            self._typed(key)
        elif key in {"q", "Q"}:
            self.stop()
        elif key in KEYS:
            view.only, view.skipped = KEYS[key], 0
        elif key == "/":
            view.words, view.typing = "", True
        elif key == "escape":
            view.words, view.only = "", ""
        else:
            view.skipped += {"up": -1, "down": 1, "page up": -_PAGE, "page down": _PAGE, " ": _PAGE}.get(key, 0)
        self.redraw()

    def connected(self) -> None:
        """The socket is open."""
        self._trouble = ""
        self._begun.set()
        self.state.connected()
        self.redraw()

    def heard(self, message: Message, _: str) -> bool:
        """Take in a message."""
        self._last_heard = self._exporter.now()
        complete = self.state.hear(message, self._last_heard)
        if complete:
            self._news.set()
        self.redraw()
        return complete

    def lost(self, why: str, wait: float) -> None:
        """The socket is closed; what is known stays on the screen."""
        self._trouble = why
        self._next_try = asyncio.get_running_loop().time() + wait
        self.redraw()

    def _typed(self, key: str) -> None:
        view = self.view
        if key == "enter":
            view.typing = False
        elif key == "escape":
            view.words, view.typing = "", False
        elif key == "backspace":
            view.words = view.words[:-1]
        elif len(key) == 1 and key.isprintable():
            view.words += key

    async def _draw(self, screen: Screen) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._due.clear()
            now = self._exporter.now()
            self.state.tidy(now)
            link = Link(self._exporter.way.url, self._trouble, self._next_try - loop.time(), self._last_heard)
            screen.show(draw(self.state, self.view, link, now, screen.size))
            await asyncio.sleep(_DRAW_EVERY)
            # Times go on without any news.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0 - _DRAW_EVERY):
                    await self._due.wait()

    async def _read(self) -> None:
        """Read what the socket does not tell; what cannot be read stays as it was."""
        while True:
            fresh = self._news.is_set()
            self._news.clear()
            with contextlib.suppress(UnreachableError, RefusedError):
                if fresh:
                    self.state.titles = await self._exporter.titles()
                    self.state.remember(await self._exporter.results(self._servers, RESULTS_READ))
                if self.state.complete and not self._trouble:
                    self.state.learn(typed(await self._exporter.servers(), Server))
            self.redraw()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_MEMORY_EVERY):
                    await self._news.wait()


class Lines:
    """The messages of the socket as they are, one on a line, for programs; `connected` comes before each snapshot."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def connected(self) -> None:
        """The socket is open."""
        self._write('{"type":"connected"}')

    def heard(self, message: Message, text: str) -> bool:
        """Pass a message on."""
        # A line break inside would make two of one; JSON has it as white space only.
        self._write(text if "\n" not in text else msgspec.json.format(text, indent=-1))
        return message.type == "snapshot_end"

    def lost(self, why: str, wait: float) -> None:
        """Say so."""
        said = msgspec.json.encode({"type": "disconnected", "data": {"message": why, "retry_seconds": round(wait, 1)}})
        self._write(said.decode())


@contextlib.asynccontextmanager
async def ended_by_signals(stop: Callable[[], None]) -> AsyncIterator[None]:
    """Call `stop` for Ctrl-C and SIGTERM, so that what was begun is ended in order."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _first_of(*waiting: Coroutine[None, None, object]) -> None:
    tasks = [asyncio.create_task(each) for each in waiting]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
