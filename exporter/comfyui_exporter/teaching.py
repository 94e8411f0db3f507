"""What estimates are learned from over a restart: read and taught after watching began, one server after another.

To learn from 300 jobs takes some 30 ms, of a thousand servers half a minute: nobody waits for that to be watched.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from comfyui_exporter.eta.late import LatePredictor
from comfyui_exporter.tracker.runs import Run

Read = Callable[[Sequence[str]], Awaitable[Mapping[str, Sequence[Run]]]]
"""Gives the lessons of servers, in the order in which their jobs ended."""

_TOGETHER = 4
"""Servers whose lessons are in memory at a time."""

_WORK, _REST = 0.01, 0.01
"""Seconds: learning takes half of the time at most, and delays nothing by more than this."""


class Teaching:
    """Teaches the predictors that are owed lessons."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._owed: dict[str, LatePredictor] = {}
        self._task: asyncio.Task[None] | None = None

    def owe(self, server: str, predictor: LatePredictor, lessons: int) -> None:
        """Let a predictor wait for so many lessons."""
        if lessons:
            predictor.expect(lessons)
            self._owed[server] = predictor

    def forget(self, server: str) -> None:
        """A server is not watched any more."""
        self._owed.pop(server, None)

    async def finish(self, servers: Sequence[str]) -> None:
        """Teach what is owed to these, and wait for it; everybody else goes on meanwhile."""
        for name in servers:
            if name in self._owed:
                await self._teach([name], rest=0.0)

    @property
    def under_way(self) -> bool:
        """Whether somebody waits for lessons."""
        return bool(self._owed) or not (self._task is None or self._task.done())

    def start(self) -> None:
        """Teach what is owed while others work; needs a running loop."""
        if self._owed and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._teach_all(), name="lessons")

    async def stop(self) -> None:
        """Teach no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _teach_all(self) -> None:
        while self._owed:
            # Those first of whom an estimate was wanted.
            await self._teach(sorted(self._owed, key=lambda name: not self._owed[name].asked)[:_TOGETHER], _REST)

    async def _teach(self, servers: Sequence[str], rest: float) -> None:
        pupils = {name: self._owed.pop(name) for name in servers}
        lessons = await self._read(servers)
        for name, predictor in pupils.items():
            began = time.monotonic()
            for run in lessons.get(name, ()):
                predictor.teach(run)
                if time.monotonic() - began >= _WORK:
                    await asyncio.sleep(rest)
                    began = time.monotonic()
            predictor.taught()
            await asyncio.sleep(rest)
