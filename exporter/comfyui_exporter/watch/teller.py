"""Telling the tracker what was read, once it is clear which process of ComfyUI said it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from comfyui_exporter.comfyui.client import askable
from comfyui_exporter.tracker.observations import (
    Event,
    HistoryEntry,
    HistoryLookup,
    HistoryPage,
    Observation,
    QueueRead,
    Restarted,
)
from comfyui_exporter.tracker.runs import Run
from comfyui_exporter.tracker.tracker import Tracker
from comfyui_exporter.tracker.transitions import Transition
from comfyui_exporter.watch.queue_reader import QueueReader
from comfyui_exporter.watch.signals import Signals
from comfyui_exporter.watch.source import Source

_TAIL = 50
"""Entries looked at for one whose prompt_id cannot be asked for; such ids are too rare to page further."""


_LAST_FEW = 4

_MOST_HELD = 2_000


class AfterBreak(Protocol):
    """Is called when a lost connection was looked into, before anything that was read since is told."""

    def __call__(self, *, restarted: bool) -> None:
        """Begin anew with what a lost connection puts in doubt."""


class Teller:
    """Stands between reads and tracker, and looks into lost connections."""

    def __init__(
        self,
        source: Source,
        tracker: Tracker,
        signals: Signals,
        reader: QueueReader,
        clock: Callable[[], float],
        emit: Callable[[list[Transition]], None],
        after_break: AfterBreak,
    ) -> None:
        self._source = source
        self._tracker = tracker
        self._signals = signals
        self._reader = reader
        self._clock = clock
        self._emit = emit
        self._after_break = after_break
        self._held: list[tuple[int, Observation]] = []
        """What was read while it wasn't clear yet whether ComfyUI had restarted before, and after how many breaks."""

    @property
    def holds(self) -> bool:
        """Whether something that was read still waits to be told."""
        return bool(self._held)

    async def tell(self, observation: Observation) -> list[Transition]:
        """Tell the tracker what a read showed, after the question of whose answer it was.

        A read that had to connect anew may be of another process: nothing is concluded from it before that is known.
        """
        self._hold(observation)
        if self._signals.broke:
            await self._check_restart()
        transitions: list[Transition] = []
        while self._held:
            _, held = self._held.pop(0)
            transitions += self._take(held)
        return transitions

    def _hold(self, observation: Observation) -> None:
        self._held.append((self._signals.breaks, observation))

    def hear(self, event: Event) -> None:
        """Tell an event, in its turn; what is heard while too much waits to be told is lost, being only a hint."""
        if not (self._signals.broke or self._held):
            self._take(event)
        elif len(self._held) < _MOST_HELD:
            self._hold(event)

    def _take(self, observation: Observation) -> list[Transition]:
        transitions = self._tracker.apply(observation)
        if transitions:
            self._emit(transitions)
        return transitions

    async def _check_restart(self) -> None:
        """A lost connection may mean another process: it is one if it knows nothing of what we know."""
        mark = self._tracker.ground.newest
        runs = sorted(
            (run for run in self._tracker.open_runs if run.epoch == self._tracker.epoch), key=lambda run: run.order
        )
        same = mark is not None and (await self._has_entry(mark[0], mark[2]) or self._saw_end_of(runs))
        read: QueueRead | None = None
        if not same and runs:
            read = await self._reader.read_afresh(len(runs))
            self._hold(read)
            same = not _queue_keys(read).isdisjoint((run.prompt_id, run.number) for run in runs)
        same = same or await self._has_end_of(runs)
        # The newest entry alone may have been deleted, or taken over by its prompt_id being sent again.
        same = same or (mark is not None and await self._knows_of_tail())
        known = mark is not None or bool(runs)
        if not known:
            await self._source.queue_remaining()  # before it answers, nothing is to be said of it
        refused = self._signals.refused
        self._signals.settle_break()
        restarted = not same and (known or refused)
        self._after_break(restarted=restarted)
        if restarted:
            # What was read before the connection was last lost is of the process that died then, unless this one has
            # it too.
            now = _queue_keys(read)
            before = [
                held
                for held in self._held
                if held[0] < self._signals.breaks and not now.intersection(_queue_keys(held[1]))
            ]
            after = [held for held in self._held if held not in before]
            self._held = [*before, (-1, Restarted(self._clock())), *after]

    def _saw_end_of(self, runs: list[Run]) -> bool:
        """Whether what was read since the connection was lost had the end of an open run."""
        keys = {(run.prompt_id, run.number) for run in runs}
        return any(
            (entry.prompt_id, entry.number) in keys and not self._tracker.ground.knows(entry.identity)
            for breaks, held in self._held
            if breaks == self._signals.breaks
            for entry in _entries(held)
        )

    async def _has_end_of(self, runs: list[Run]) -> bool:
        """Whether the history has the end of an open run, which only the same process can."""
        for run in runs:
            if askable(run.prompt_id):
                entry = await self._ask_history(run.prompt_id)
                if entry is not None:
                    self._hold(HistoryLookup(self._clock(), run.prompt_id, entry))
                    if entry.number == run.number and not self._tracker.ground.knows(entry.identity):
                        return True
        keys = {(run.prompt_id, run.number) for run in runs if not askable(run.prompt_id)}
        if not keys:
            return False
        tail = await self._source.history_page(_TAIL, self._tracker.ground.knows)
        self._hold(HistoryPage(self._clock(), tail.entries))
        return any(
            (entry.prompt_id, entry.number) in keys and not self._tracker.ground.knows(entry.identity)
            for entry in tail.entries
        )

    async def _knows_of_tail(self) -> bool:
        """Whether one of the last few entries is known: only the same process can have it."""
        tail = await self._source.history_page(_LAST_FEW, self._tracker.ground.knows)
        self._reader.charge(self._source.last.received_bytes)
        self._hold(HistoryPage(self._clock(), tail.entries))
        return any(self._tracker.ground.knows(entry.identity) for entry in tail.entries)

    async def _has_entry(self, prompt_id: str, started_ms: int | None) -> bool:
        if not askable(prompt_id):
            # Then it must be near the end, where the newest that we know of was.
            tail = await self._source.history_page(_TAIL, self._tracker.ground.knows)
            self._hold(HistoryPage(self._clock(), tail.entries))
            return any(self._tracker.ground.knows(entry.identity) for entry in tail.entries)
        entry = await self._ask_history(prompt_id)
        if entry is not None:
            self._hold(HistoryLookup(self._clock(), prompt_id, entry))
        return entry is not None and entry.started_ms == started_ms

    async def _ask_history(self, prompt_id: str) -> HistoryEntry | None:
        payload = await self._source.history_entry(prompt_id, self._tracker.ground.knows)
        return next(iter(payload.entries), None)


def _queue_keys(observation: Observation | None) -> set[tuple[str, float]]:
    if not isinstance(observation, QueueRead):
        return set()
    return {(item.prompt_id, item.number) for item in (*observation.running, *observation.pending)}


def _entries(observation: Observation) -> tuple[HistoryEntry, ...]:
    match observation:
        case HistoryPage(entries=entries):
            return entries
        case HistoryLookup(entry=entry) if entry is not None:
            return (entry,)
        case _:
            return ()
