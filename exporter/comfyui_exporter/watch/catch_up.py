"""Going back through the history until known ground, in pages that overlap."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from comfyui_exporter.comfyui.history import HistoryPayload
from comfyui_exporter.tracker.ground import Ground, Identity
from comfyui_exporter.watch.budget import ReadBudget
from comfyui_exporter.watch.source import Source

_FIRST_PAGE = 4
"""Most gaps are short."""

_LARGEST_PAGE = 50
_PAGE_BYTES = 1_500_000
"""13 ms of ComfyUI's time."""

_ENTRY_BYTES = 30_000
_OVERLAP = 3
_MOST_TORN = 3
"""Pages in a row that may fail to overlap before we go on without: unreadable entries, or deletions all the time."""


@dataclass(slots=True)
class _Descent:
    """How far back we are: everything from `position` (counted from the oldest entry) to the newest was read."""

    position: int
    joint: set[Identity]
    read: list[Identity] = field(default_factory=list)
    torn: int = 0


class CatchUp:
    """Reads the tail of the history back to an entry that is ground, or to the beginning."""

    def __init__(
        self,
        source: Source,
        ground: Ground,
        budget: ReadBudget,
        clock: Callable[[], float],
        apply: Callable[[HistoryPayload], Awaitable[object]],
    ) -> None:
        self._source = source
        self._ground = ground
        self._budget = budget
        self._clock = clock
        self._apply = apply
        self._descent: _Descent | None = None
        self._entry_bytes = float(_ENTRY_BYTES)
        self._count_hint = 64

    def forget(self) -> None:
        """Forget how far it got: the history is another one."""
        self._descent = None

    async def advance(self, *, at_once: bool) -> bool:
        """Go back as far as the budget allows; True once everything from ground to the newest entry is known.

        `at_once` reads one page in any case: the budget was there before the queue was read, and a queue that is read
        in every cycle must not starve the history.

        Raises:
            ReadError: there is no usable answer.

        """
        while at_once or self._budget.ready(self._clock()):
            at_once = False
            if self._descent is None:
                if await self._from_newest():
                    return True
            else:
                await self._further(self._descent)
        return False

    async def _from_newest(self) -> bool:
        page = await self._read(_FIRST_PAGE)
        if self._reaches_ground(page) or page.size < _FIRST_PAGE:
            self._ground.verify()
            return True
        identities = [entry.identity for entry in page.entries]
        count = await self._count()
        self._descent = _Descent(max(0, count - page.size), set(identities), identities)
        return False

    async def _further(self, descent: _Descent) -> None:
        size = max(_OVERLAP + 2, min(_LARGEST_PAGE, int(_PAGE_BYTES / self._entry_bytes)))
        offset = max(0, descent.position + _OVERLAP - size)
        page = await self._read(descent.position + _OVERLAP - offset, offset)
        identities = [entry.identity for entry in page.entries]
        if not descent.joint.intersection(identities):
            # Entries were deleted and the rest moved: what lies between is unknown, so begin anew from the newest.
            torn = descent.torn + 1
            if torn <= _MOST_TORN:
                self._descent = None
                if await self._from_newest():
                    return
                if self._descent is not None:
                    self._descent.torn = torn
                return
        descent.position, descent.joint, descent.torn = offset, set(identities), 0
        descent.read += identities
        if offset == 0 or self._reaches_ground(page):
            self._ground.verify(descent.read)
            self._descent = None

    def _reaches_ground(self, page: HistoryPayload) -> bool:
        return any(self._ground.holds(entry.identity) for entry in page.entries)

    async def _read(self, max_items: int, offset: int | None = None) -> HistoryPayload:
        try:
            page = await self._source.history_page(max_items, self._ground.knows, offset)
        finally:
            self._budget.charge(self._clock(), self._source.last.received_bytes)
        if page.size:
            self._entry_bytes = max(200.0, self._source.last.received_bytes / page.size)
        await self._apply(page)
        return page

    async def _count(self) -> int:
        """Find the number of entries: one beyond the last at which `offset=K&max_items=1` is not empty."""
        low, high = -1, self._count_hint  # there is an entry at `low`, if it isn't -1
        while await self._exists(high):
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            if await self._exists(middle):
                low = middle
            else:
                high = middle
        self._count_hint = max(64, high)
        return high

    async def _exists(self, index: int) -> bool:
        page = await self._source.history_page(1, self._ground.knows, index)
        if self._ground.dated:
            await self._apply(page)
        return page.size > 0
