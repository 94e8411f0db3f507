"""Reading what ended before our first look: it is not counted, but tells how long jobs take here.

Nothing depends on it, so it is read in small pages when there is nothing else to do, and given up if that fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from comfyui_exporter.comfyui.errors import ReadError
from comfyui_exporter.comfyui.history import HistoryPayload
from comfyui_exporter.tracker.ground import Ground, Identity
from comfyui_exporter.tracker.observations import HistoryEntry
from comfyui_exporter.tracker.runs import Run, State
from comfyui_exporter.watch.budget import ReadBudget
from comfyui_exporter.watch.source import Source

_PAGE = 10
"""Entries, 300 kB: 4 ms of ComfyUI's time, and the queue waits no longer than 2 s for it."""

_MOST_FAILURES = 3


class Lessons:
    """Reads the newest entries of those that were there at the very first look, oldest first, one page at a time.

    `recall` is told of each as of a run that ended; `wanted` says of how many, 0 of none.
    """

    def __init__(
        self,
        source: Source,
        ground: Ground,
        budget: ReadBudget,
        clock: Callable[[], float],
        recall: Callable[[Run], None],
        wanted: int,
    ) -> None:
        self._source = source
        self._ground = ground
        self._budget = budget
        self._clock = clock
        self._recall = recall
        self._wanted = wanted
        self._failures = 0
        self._last = -1
        """The last place in the history where an entry is known to be, counted from the oldest."""
        self._beyond: int | None = None
        """A place where there is none."""
        self._next: int | None = None
        """Where to read on; None while it is not known where to begin."""
        self._left = wanted + 2 * _PAGE
        self.done = wanted <= 0

    async def advance(self) -> None:
        """Do one read, if the budget allows."""
        if self.done or not self._budget.ready(self._clock()):
            return
        if self._ground.before_ms is None:
            self.done = True  # nothing was there
            return
        try:
            if self._next is None:
                await self._find_beginning()
            else:
                await self._read_page(self._next)
        except ReadError:
            self._failures += 1
            self.done = self._failures >= _MOST_FAILURES

    async def _find_beginning(self) -> None:
        """Halve the range in which the history ends, until that is known well enough.

        ComfyUI does not tell how long it is, and gives pages by places counted from the oldest.
        """
        if self._beyond is None:
            place = self._wanted if self._last < 0 else 2 * self._last
        else:
            place = (self._last + self._beyond) // 2
        if (await self._read(1, place)).size:
            self._last = place
        else:
            self._beyond = place
        if self._beyond is not None and (self._beyond <= self._wanted or self._beyond - self._last <= _PAGE):
            self._next = max(0, self._last + 1 - self._wanted)

    async def _read_page(self, place: int) -> None:
        page = await self._read(_PAGE, place)
        for entry in page.entries:
            if self._is_lesson(entry):
                self._recall(_as_run(entry))
        self._next = place + page.size
        self._left -= page.size
        self.done = page.size < _PAGE or self._left <= 0

    async def _read(self, max_items: int, offset: int) -> HistoryPayload:
        try:
            return await self._source.history_page(max_items, _knows_none, offset)
        finally:
            self._budget.charge(self._clock(), self._source.last.received_bytes)

    def _is_lesson(self, entry: HistoryEntry) -> bool:
        """Whether it was there at our first look; what ended since then is learned from as it ends."""
        before = self._ground.before_ms
        return before is not None and entry.started_ms is not None and entry.started_ms <= before


def _knows_none(_identity: Identity) -> bool:
    return False


def _as_run(entry: HistoryEntry) -> Run:
    """Make the run that this would have been: its graph and its outputs teach nothing."""
    return Run(
        run_id="",
        prompt_id=entry.prompt_id,
        number=entry.number,
        state=State(entry.outcome.value),
        details=replace(entry.details, graph=None),
        epoch=0,
        first_seen=0.0,
        entry=replace(entry, outputs=()),
    )
