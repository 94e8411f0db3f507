"""What events say of runs: which one executes, and how far it is."""

from __future__ import annotations

from dataclasses import replace

from comfyui_exporter.tracker.hearing import Hearing
from comfyui_exporter.tracker.lifecycle import Lifecycle
from comfyui_exporter.tracker.observations import ExecutionBegan, ExecutionOver, NodesCached, NodesHeard
from comfyui_exporter.tracker.roster import Roster
from comfyui_exporter.tracker.runs import Run, State
from comfyui_exporter.tracker.transitions import NodeTimed, Transition


class HeardRuns:
    """Finds the run that an event is about. Events are hints: they neither open nor end one."""

    def __init__(self, roster: Roster, lifecycle: Lifecycle, hearing: Hearing) -> None:
        self._roster = roster
        self._lifecycle = lifecycle
        self._hearing = hearing

    def apply(self, event: ExecutionBegan | NodesCached | NodesHeard | ExecutionOver) -> list[Transition]:
        """Take in an event and say what it changed."""
        changes: list[Transition] = [NodeTimed(event.at, timed) for timed in self._hearing.hear(event)]
        run = self._run_heard_of(event.prompt_id)
        if run is None:
            if not isinstance(event, ExecutionOver):
                self._hearing.name(event.prompt_id)
            return changes
        if isinstance(event, ExecutionOver):
            return changes
        self._lifecycle.last_activity = event.at
        if run.state is not State.PROCESSING or run.heard_at is None:
            run = self._hear_running(event.at, run, changes)
        self.show_progress(event.at, run, changes, stalled=False)
        return changes

    def show_progress(self, at: float, run: Run, changes: list[Transition], *, stalled: bool) -> Run:
        """Note how far a run is by what was heard of it, and whether it seems to be stuck."""
        heard = self._hearing.progress_of(run.prompt_id)
        if heard is None or run.state is not State.PROCESSING:
            return run
        if heard.graph is None and run.detailed:
            changes += [NodeTimed(at, timed) for timed in heard.learn_graph(run.details.graph)]
        progress = heard.now(at, run.progress.percent)
        if progress == run.progress and stalled == run.stalled:
            return run
        return self._lifecycle.move(at, run, progress, changes, stalled=stalled)

    def _run_heard_of(self, prompt_id: str) -> Run | None:
        epoch = self._roster.epoch
        runs = [run for run in self._roster.open if run.prompt_id == prompt_id and run.epoch == epoch]
        return min(runs, key=lambda run: (run.state is not State.PROCESSING, run.order), default=None)

    def _hear_running(self, at: float, run: Run, changes: list[Transition]) -> Run:
        """An event names it as executing, so what was only presumed to run waits."""
        if run.state is State.COMPLETING:
            # It left the queue, and what is told of it late is no news.
            return run
        for other in list(self._roster.open):
            presumed = other.state is State.PROCESSING and not other.seen_running and other.heard_at is None
            if presumed and other.run_id != run.run_id:
                self._lifecycle.wait(at, other, changes)
        heard = replace(self._lifecycle.begun(at, run), heard_at=at)
        self._lifecycle.begin(at, run, heard, changes)
        return heard
