"""What the history says of runs: how each ended, or that it has no entry for one that left the queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from comfyui_exporter.tracker.ground import Ground
from comfyui_exporter.tracker.lifecycle import Lifecycle
from comfyui_exporter.tracker.observations import HistoryEntry, HistoryLookup, HistoryPage, Outcome
from comfyui_exporter.tracker.roster import Roster
from comfyui_exporter.tracker.runs import Run, State
from comfyui_exporter.tracker.transitions import Transition


class Settlement:
    """Ends runs. `classify` is the tracker's; `grace` is for how many seconds the entry of a run may be late."""

    def __init__(
        self,
        roster: Roster,
        lifecycle: Lifecycle,
        ground: Ground,
        classify: Callable[[str, str, str], str],
        grace: float,
    ) -> None:
        self._roster = roster
        self._lifecycle = lifecycle
        self._ground = ground
        self._classify = classify
        self._grace = grace

    def apply_lookup(self, lookup: HistoryLookup) -> list[Transition]:
        """Take in what the history has for one prompt_id and say what it changed."""
        changes: list[Transition] = []
        if lookup.entry is not None:
            self._settle(lookup.at, lookup.entry, changes, may_be_new=not self._from_before(lookup.entry))
        for run, first_missed in self._roster.unlisted(lookup.prompt_id):
            if first_missed is None:
                self._roster.miss(run, lookup.at)
            elif lookup.at >= first_missed + self._grace:
                self._vanish(lookup.at, run, changes)
        self._lifecycle.presume(lookup.at, changes)
        return changes

    def apply_page(self, page: HistoryPage) -> list[Transition]:
        """Take in consecutive entries and say what they changed."""
        changes: list[Transition] = []
        holds = max((i for i, entry in enumerate(page.entries) if self._ground.holds(entry.identity)), default=None)
        for index, entry in enumerate(page.entries):
            # Above ground everything is new. Below it only a reused id in its old place can be, and that joins its open
            # run. In a page without ground the start tells what was there before us.
            may_be_new = index > holds if holds is not None else not self._from_before(entry)
            self._settle(page.at, entry, changes, may_be_new=may_be_new)
        self._lifecycle.presume(page.at, changes)
        return changes

    def _from_before(self, entry: HistoryEntry) -> bool:
        before = self._ground.before_ms
        return before is not None and entry.started_ms is not None and entry.started_ms <= before

    def _settle(self, at: float, entry: HistoryEntry, changes: list[Transition], *, may_be_new: bool) -> None:
        if self._ground.knows(entry.identity):
            return
        key = (entry.prompt_id, entry.number)
        candidates = self._roster.twins(key)
        run = min(candidates, key=lambda run: (not run.seen_running, run.state is State.QUEUED), default=None)
        if run is None:
            if not may_be_new:
                return
            if self._roster.take_vanished(key):
                self._ground.add(entry.identity)
                return
            run = self._lifecycle.submit(at, key, [entry.details], changes)
        run = self._lifecycle.detail(at, run, [entry.details], changes)
        self._ground.add(entry.identity)
        state = State(entry.outcome.value)
        self._lifecycle.end(at, replace(run, state=state, entry=entry, pattern=self._pattern_of(entry)), changes)

    def _pattern_of(self, entry: HistoryEntry) -> str:
        if entry.outcome is not Outcome.FAILED:
            return ""
        failure = entry.failure
        if failure is None:
            return self._classify("", "", "")
        return self._classify(failure.exception_type, failure.message, failure.node_type)

    def _vanish(self, at: float, run: Run, changes: list[Transition]) -> None:
        lost = run.seen_running or run.heard_at is not None or run.epoch < self._roster.epoch
        self._lifecycle.end(at, replace(run, state=State.LOST if lost else State.CANCELLED), changes)
