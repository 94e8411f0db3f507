"""What a read of the queue says of runs: which are new, which run, which wait and which are gone from it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from comfyui_exporter.tracker.lifecycle import Lifecycle
from comfyui_exporter.tracker.observations import QueueItem, QueueRead
from comfyui_exporter.tracker.roster import Key, Roster
from comfyui_exporter.tracker.runs import Run, State
from comfyui_exporter.tracker.transitions import Transition

MOST_OPEN = 50_000
"""Runs without an end. ComfyUI is not read beyond 20,000 jobs, so those that are more left the queue long ago."""

MOST_TWINS = 100
"""Items of one prompt_id and number that are told apart; to do so costs the square of it."""


class QueueMatching:
    """Finds the run of each item in the queue."""

    def __init__(self, roster: Roster, lifecycle: Lifecycle) -> None:
        self._roster = roster
        self._lifecycle = lifecycle

    def apply(self, read: QueueRead) -> list[Transition]:
        """Take in a read and say what it changed."""
        changes: list[Transition] = []
        listed: dict[Key, tuple[list[QueueItem], list[QueueItem]]] = {}
        for column, items in enumerate((read.running, read.pending)):
            for item in items:
                twins = listed.setdefault((item.prompt_id, item.number), ([], []))[column]
                if len(twins) < MOST_TWINS:
                    twins.append(item)
        present = set[str]()
        for key, (running, pending) in listed.items():
            present |= self._match(read.at, key, running, pending, changes)
        if read.running:
            self._contradict(read, changes)
        if read.complete:
            for run in self._roster.absent(present):
                self._lifecycle.change(read.at, replace(run, state=State.COMPLETING), changes)
        self._lose_oldest(read.at, present, changes)
        self._lifecycle.queue_read = True
        self._lifecycle.presume(read.at, changes)
        return changes

    def _lose_oldest(self, at: float, present: Collection[str], changes: list[Transition]) -> None:
        """Let go of more than can be: a queue that is another one in each read would fill the memory."""
        excess = len(self._roster.open) - MOST_OPEN
        if excess > 0:
            gone = [run for run in self._roster.open if run.run_id not in present]
            for run in gone[:excess]:
                self._lifecycle.end(at, replace(run, state=State.LOST), changes)

    def _match(
        self,
        at: float,
        key: Key,
        running: list[QueueItem],
        pending: list[QueueItem],
        changes: list[Transition],
    ) -> set[str]:
        """Give each item of one key its run: identical items are told apart only by their number."""
        present = set[str]()
        runs = self._roster.twins(key)
        details = [item.details for item in (*running, *pending) if item.details is not None]
        # What runs was started before what waits, and what was seen running never waits again.
        runs.sort(key=lambda run: not run.seen_running)
        for _ in running:
            run = runs.pop(0) if runs else None
            if run is None:
                run = self._lifecycle.submit(at, key, details, changes)
            else:
                run = self._lifecycle.detail(at, run, details, changes)
            present.add(run.run_id)
            self._show_running(at, run, changes)
        for _ in pending:
            # One that was heard to run is the last of them to wait.
            unseen = [run for run in runs if not run.seen_running]
            waiting = min(unseen, key=lambda run: run.heard_at is not None, default=None)
            if waiting is None:
                waiting = self._lifecycle.submit(at, key, details, changes)
            else:
                runs.remove(waiting)
                waiting = self._lifecycle.detail(at, waiting, details, changes)
            present.add(waiting.run_id)
            self._show_pending(at, waiting, changes)
        return present

    def _show_running(self, at: float, run: Run, changes: list[Transition]) -> None:
        if run.seen_running and run.state is State.PROCESSING:
            return
        start_seen = run.start_seen or run.first_seen < at
        shown = replace(self._lifecycle.begun(at, run), seen_running=True, start_seen=start_seen)
        self._lifecycle.last_activity = at
        self._lifecycle.begin(at, run, shown, changes)

    def _show_pending(self, at: float, run: Run, changes: list[Transition]) -> None:
        match run.state:
            case State.COMPLETING:
                self._lifecycle.wait(at, run, changes)
            case State.PROCESSING:
                # Between two jobs nothing runs for a moment: it may start right now, so when it did is not known.
                self._roster.put(replace(run, start_seen=False))
            case _:
                pass

    def _contradict(self, read: QueueRead, changes: list[Transition]) -> None:
        """Another job runs, so those that were only presumed to run wait."""
        for run in [run for run in self._roster.open if run.state is State.PROCESSING and not run.seen_running]:
            if run.heard_at is None or run.heard_at < read.since:
                self._lifecycle.wait(read.at, run, changes)
