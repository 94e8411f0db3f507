"""Waits for jobs: two push sockets, questions about what these do not know, and the patience to wait for either."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from comfyui_exporter.terminal.exporter import Exporter
from comfyui_exporter.terminal.follow import Waits, follow
from comfyui_exporter.terminal.messages import Message
from comfyui_exporter.terminal.waiting import Outcome, Run, Source, Watched, Watchlist

_ASK_AGAIN = 5.0
"""Seconds between questions about a job that no socket tells of: the answer may take a look into the store."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds; None: for ever."""

    all: float | None = None
    """For all jobs to end."""
    appear: float = 60.0
    """For a job that the exporter does not know, counted while it is there."""
    away: float = 120.0
    """For an exporter that was there to come back."""


class Waiter:
    """Waits. `tell` is given each job of which there is news, `away` why the exporter is gone, None when it is back."""

    def __init__(
        self,
        exporter: Exporter,
        names: Sequence[str],
        patience: Patience,
        *,
        tell: Callable[[Watched], None],
        away: Callable[[str | None], None],
        waits: Callable[[], Waits],
    ) -> None:
        self.list = Watchlist(names)
        self._exporter = exporter
        self._patience = patience
        self._tell = tell
        self._away = away
        self._waits = waits
        self._changed = asyncio.Event()
        """Something may be over, or another deadline is the next."""
        self._complete = asyncio.Event()
        """Both sockets have told all they know."""
        self._gone = asyncio.Event()
        """They have not any more."""
        self._away_since: float | None = None
        self._missing_since: dict[str, float] = {}

    async def run(self) -> None:
        """Wait until each job has its outcome.

        Raises:
            UnreachableError: the exporter is not there at the start.
            RefusedError: it says no.

        """
        began = self._time()
        names = [each.name for each in self.list.watched]
        parts = [
            follow(self._exporter, [(key, name) for name in names], _Ear(self, source), self._waits())
            for source, key in zip(self.list.sources, ("prompt_id", "job_id"), strict=True)
        ]
        tasks = [asyncio.create_task(part) for part in (*parts, self._ask())]
        for task in tasks:
            task.add_done_callback(lambda _: self._changed.set())
        try:
            while not self.list.over:
                await self._wait(began)
                for task in tasks:
                    if task.done():
                        task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def look(self) -> None:
        """Tell of those of which there is news."""
        for each in self.list.look():
            self._missing_since.pop(each.name, None)
            self._tell(each)
        if self.list.complete:
            self._complete.set()
            self._gone.clear()
            if self._away_since is not None and not self.list.over:
                self._away_since = None
                self._away(None)
        self._changed.set()

    def gone(self, why: str) -> None:
        """The exporter is away."""
        self._complete.clear()
        self._gone.set()
        self._missing_since.clear()
        if self._away_since is None:
            self._away_since = self._time()
            self._away(why)
        self._changed.set()

    async def _ask(self) -> None:
        """Ask for those that the sockets do not tell of: they ended longer ago than is kept in memory."""
        while True:
            await self._complete.wait()
            for each in self.list.missing:
                found = await self._exporter.job(each.name)
                if found is not None and self.list.found(each, Run(*found)):
                    self._tell(each)
                elif self._complete.is_set() and not each.known and each.name not in self._missing_since:
                    self._missing_since[each.name] = self._time()
                    self._tell(each)
            self._changed.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ASK_AGAIN):
                    await self._gone.wait()

    async def _wait(self, began: float) -> None:
        """Wait for a change, or until somebody has waited long enough."""
        deadlines = [since + self._patience.appear for since in self._missing_since.values()]
        if self._away_since is not None:
            deadlines.append(self._away_since + self._patience.away)
        if self._patience.all is not None:
            deadlines.append(began + self._patience.all)
        try:
            async with asyncio.timeout_at(min(deadlines, default=None)):
                await self._changed.wait()
        except TimeoutError:
            self._impatient(began)
        self._changed.clear()

    def _impatient(self, began: float) -> None:
        now = self._time()
        if self._patience.all is not None and now >= began + self._patience.all:
            self.list.give_up(Outcome.TIMEOUT)
        elif self._away_since is not None and now >= self._away_since + self._patience.away:
            self.list.give_up(Outcome.UNREACHABLE)
        for each in self.list.missing:
            since = self._missing_since.get(each.name)
            if since is not None and now >= since + self._patience.appear:
                each.outcome = Outcome.UNKNOWN

    def _time(self) -> float:
        return asyncio.get_running_loop().time()


class _Ear:
    """What one socket is heard by."""

    def __init__(self, waiter: Waiter, source: Source) -> None:
        self._waiter = waiter
        self._source = source

    def connected(self) -> None:
        self._source.connected()

    def heard(self, message: Message, _: str) -> bool:
        complete = self._source.hear(message)
        self._waiter.look()
        return complete

    def lost(self, why: str, _: float) -> None:
        self._source.lost()
        self._waiter.gone(why)
