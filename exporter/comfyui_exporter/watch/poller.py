"""Decides which reads of ComfyUI are worth their cost, and tells the tracker what they showed.

The rules: cheap signs first, the smallest read that answers, an end at once, and everything that costs ComfyUI more
than a moment within the budget. Accounting by falls: with the socket open each end or deletion is one `status` frame
with one job less, so a fall that a newly found end explains hides nothing, and one that none explains says that the
queue must be read and the newest history entry compared with known ground.
"""

from __future__ import annotations

from collections.abc import Callable

from comfyui_exporter.comfyui.client import askable
from comfyui_exporter.comfyui.history import HistoryPayload
from comfyui_exporter.tracker.ground import Identity
from comfyui_exporter.tracker.observations import (
    Event,
    HistoryEntry,
    HistoryLookup,
    HistoryPage,
    Tick,
)
from comfyui_exporter.tracker.runs import Run
from comfyui_exporter.tracker.tracker import Tracker
from comfyui_exporter.tracker.transitions import Ended, Transition
from comfyui_exporter.watch.budget import ReadBudget
from comfyui_exporter.watch.catch_up import CatchUp
from comfyui_exporter.watch.lessons import Lessons
from comfyui_exporter.watch.queue_reader import QueueReader
from comfyui_exporter.watch.signals import Signals
from comfyui_exporter.watch.source import Source
from comfyui_exporter.watch.teller import Teller

_ENDS_AT_ONCE = 16
"""Ends read one by one in a cycle; more are cheaper as pages."""

_NAMES_PER_END = 3

_FOUND_PER_CYCLE = 20
_FOUND_WHILE_BEHIND = 5
_ASKED_PER_CYCLE = 200
"""Looking for runs that left the queue: an answer with an entry costs, an empty one next to nothing."""


class Poller:
    """Polls one ComfyUI. `emit` gets the transitions of each observation, in order.

    `recall` gets up to `lessons_wanted` runs that had ended before the first look, for estimates alone.
    """

    def __init__(
        self,
        source: Source,
        tracker: Tracker,
        signals: Signals,
        clock: Callable[[], float],
        emit: Callable[[list[Transition]], None],
        recall: Callable[[Run], None] = lambda _run: None,
        lessons_wanted: int = 0,
    ) -> None:
        self._source = source
        self._tracker = tracker
        self._signals = signals
        self._clock = clock
        self._budget = ReadBudget()
        self._reader = QueueReader(source, tracker, self._budget, clock)
        self._teller = Teller(source, tracker, signals, self._reader, clock, emit, self._begin_anew)
        self._catch_up = CatchUp(source, tracker.ground, self._budget, clock, self._page)
        self._lessons = Lessons(source, tracker.ground, self._budget, clock, recall, lessons_wanted)
        self._level: int | None = None
        self._falls = 0
        self._queue_dirty = True
        self._tail_dirty = False
        self._uncovered = True
        """Whether something may have gone unheard since the last look at the newest entry."""
        self._settled: tuple[Identity, ...] = ()
        self.answers = 0
        """How often GET /prompt was answered."""
        self.looked = tracker.mark is not None
        """Whether the first look is done: the mark is set, and whatever comes after it counts."""
        if self.looked:
            # We were away: what is known may be of another process.
            signals.connection_broke()

    @property
    def remaining(self) -> int | None:
        """Running and pending jobs together, as last heard; None before the first answer."""
        return self._level

    @property
    def due(self) -> float | None:
        """When something waits that could be read then, sooner than the next cycle would; None if nothing waits."""
        waits = []
        if self._queue_dirty:
            waits.append(self._reader.ready_at(self._level or 0))
        if self._tail_dirty:
            waits.append(self._budget.ready_at)
        second_look = self._tracker.next_due()
        if second_look is not None:
            waits.append(second_look)
        return min(waits, default=None)

    def hear(self, event: Event) -> None:
        """Take in what the event stream tells of an executing job, at once."""
        if not self.looked:
            self._signals.settle_break()  # no run is known that a restart could put in doubt
        self._teller.hear(event)

    async def cycle(self, *, ask: bool = True) -> None:
        """Find out what happened; `ask` for the number of jobs too, not only for what was heard.

        Raises:
            ReadError: a read gave no usable answer; what it was to show is read in a later cycle.

        """
        quiet = self._take_in()
        if ask:
            frames = self._signals.frames
            asked = await self._source.queue_remaining()
            self.answers += 1
            # A frame that overtook the answer is newer than it.
            if self._signals.frames == frames and not self._count(asked):
                # The number changed and no frame said so: the socket may be deaf.
                quiet, self._uncovered = False, True
        if not self.looked:
            await self._first_look()
        if self._signals.broke or self._teller.holds:
            await self._teller.tell(Tick(self._clock()))
        await self._read_ends()
        if self._uncovered:
            await self._look_at_newest()
        affordable = self._budget.ready(self._clock())
        if self._queue_dirty and self._clock() >= self._reader.ready_at(self._level or 0):
            await self._read_queue()
        if self._tail_dirty:
            self._tail_dirty = not await self._catch_up.advance(at_once=affordable)
        elif quiet and ask:
            self._raise_ground()
        await self._look_for_missing()
        if ask and not (self._queue_dirty or self._tail_dirty):
            await self._lessons.advance()
        await self._teller.tell(Tick(self._clock()))

    # First look

    async def _first_look(self) -> None:
        # A reused id keeps its old place, so the newest entry does not tell that such a run was there before us.
        for prompt_id in [name for name in self._tracker.hearing.named if askable(name)][:_FOUND_PER_CYCLE]:
            before = await self._source.history_entry(prompt_id, self._tracker.ground.knows)
            for entry in before.entries:
                self._tracker.ground.add(entry.identity)
        newest = await self._source.history_page(1, self._tracker.ground.knows)
        self._tracker.begin(newest.entries[-1] if newest.entries else None)
        self.looked = True
        self._signals.settle_break()  # whatever was before it is nothing to us

    def _begin_anew(self, *, restarted: bool) -> None:
        """The connection was lost: nothing is known to be unchanged, and after a restart nothing is left."""
        self._queue_dirty = self._tail_dirty = True
        if restarted:
            self._catch_up.forget()
            self._falls = 0

    # Signs

    def _take_in(self) -> bool:
        """Take in what was heard since the last cycle; True if that was surely everything and said nothing new."""
        heard = self._signals.take()
        if not heard.covered:
            self._uncovered = True
        unchanged = [self._count(level) for level in heard.levels]
        if all(unchanged) and not self._uncovered and not self._falls:
            return True
        self._settled = ()
        return False

    def _count(self, level: int) -> bool:
        """Count what left and what came; True if nothing did."""
        before, self._level = self._level, level
        if before is None or level == before:
            return True
        self._falls += max(0, before - level)
        self._queue_dirty = self._queue_dirty or level > before
        self._settled = ()
        return False

    def _raise_ground(self) -> None:
        """Once every fall is explained by an end that we know, nothing lies between those ends.

        An end can be read before its own `status` frame has come, and explain the fall of another. So entries become
        ground only when two cycles in a row were quiet since: by then their frames have come.
        """
        self._tracker.ground.verify(self._settled)
        self._settled = self._tracker.ground.unverified

    # Ends

    async def _read_ends(self) -> None:
        """Explain each fall by an end, with one single-entry read where the running job is known."""
        tries = 0
        while self._falls:
            tries += 1
            if tries > _ENDS_AT_ONCE:
                self._tail_dirty = True
            elif await self._find_end():
                self._falls -= 1
                continue
            self._queue_dirty = True
            self._falls = 0

    async def _find_end(self) -> bool:
        running = self._tracker.likely_running()
        if running is not None and askable(running.prompt_id):
            _, changes = await self._look_up(running.prompt_id)
            if _has_end(changes):
                return True
        # A reused id keeps its old place in the history: only its name leads to it.
        for prompt_id in [name for name in self._tracker.hearing.named if askable(name)][:_NAMES_PER_END]:
            _, changes = await self._look_up(prompt_id)
            if _has_end(changes):
                return True
        newest = await self._source.history_page(1, self._tracker.ground.knows)
        if _has_end(await self._page(newest)):
            return True
        self._compare(newest)
        return False

    async def _look_at_newest(self) -> None:
        """Without a proof that nothing went unheard, see whether the newest entry is ground."""
        newest = await self._source.history_page(1, self._tracker.ground.knows)
        await self._page(newest)
        self._compare(newest)
        if self._level or any(self._tracker.open_runs):
            # One may have left and another come: the same number need not be the same queue.
            self._queue_dirty = True
        self._uncovered = False

    async def _page(self, payload: HistoryPayload) -> list[Transition]:
        return await self._teller.tell(HistoryPage(self._clock(), payload.entries))

    def _compare(self, newest: HistoryPayload) -> None:
        if any(not self._tracker.ground.holds(entry.identity) for entry in newest.entries):
            self._tail_dirty = True

    # The queue

    async def _read_queue(self) -> None:
        frames = self._signals.frames
        read = await self._reader.read(self._level or 0)
        if read is None:
            return
        if read.complete and self._signals.frames == frames:
            # A put that ComfyUI answers with 500 may have queued all the same, and no frame said so.
            self._count(len(read.running) + len(read.pending))
        await self._teller.tell(read)
        self._queue_dirty = not read.complete or self._reader.lacks_details

    async def _look_for_missing(self) -> None:
        """Ask the history for the runs that left the queue."""
        found = 0
        most = _FOUND_WHILE_BEHIND if self._tail_dirty else _FOUND_PER_CYCLE
        for prompt_id in self._tracker.due_lookups(self._clock())[:_ASKED_PER_CYCLE]:
            if not askable(prompt_id):
                if not self._tail_dirty:  # then its entry would have been seen in the tail
                    await self._teller.tell(HistoryLookup(self._clock(), prompt_id, None))
                continue
            entry, _ = await self._look_up(prompt_id)
            found += entry is not None
            if found >= most:
                return

    async def _look_up(self, prompt_id: str) -> tuple[HistoryEntry | None, list[Transition]]:
        payload = await self._source.history_entry(prompt_id, self._tracker.ground.knows)
        entry = next(iter(payload.entries), None)
        self._tracker.hearing.looked_up(prompt_id)
        return entry, await self._teller.tell(HistoryLookup(self._clock(), prompt_id, entry))


def _has_end(transitions: list[Transition]) -> bool:
    return any(isinstance(transition, Ended) for transition in transitions)
