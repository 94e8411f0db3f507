"""What time alone says of runs: which take too long, which seem to be stuck, and how far those unheard should be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from comfyui_exporter.tracker.estimate import Estimate
from comfyui_exporter.tracker.heard_runs import HeardRuns
from comfyui_exporter.tracker.hearing import Hearing
from comfyui_exporter.tracker.lifecycle import Lifecycle
from comfyui_exporter.tracker.observations import Tick
from comfyui_exporter.tracker.progress import NEARLY, Progress
from comfyui_exporter.tracker.roster import Roster
from comfyui_exporter.tracker.runs import Run, State
from comfyui_exporter.tracker.timing import Timing
from comfyui_exporter.tracker.transitions import Forgotten, Transition

DEAF_STALL_FACTOR = 6
"""A job whose events we cannot hear may just be silent: it is flagged only past this many stall_timeouts."""

DEAF_STALL_ESTIMATES = 3
"""With an estimate, it is flagged past so many times its upper end, but not before stall_timeout."""

_LEAST_CHANGE = 0.1
"""Percent by which an estimated progress must have grown to be told."""


class Patience:
    """Looks at the clock of the observations. `expect` tells how long such runs take."""

    def __init__(
        self,
        roster: Roster,
        lifecycle: Lifecycle,
        hearing: Hearing,
        heard_runs: HeardRuns,
        timing: Timing,
        expect: Callable[[Run], Estimate | None],
    ) -> None:
        self._roster = roster
        self._lifecycle = lifecycle
        self._hearing = hearing
        self._heard_runs = heard_runs
        self._timing = timing
        self._expect = expect

    def apply(self, tick: Tick) -> list[Transition]:
        """Take in that time passed and say what it changed."""
        changes: list[Transition] = []
        timing = self._timing
        for seen in list(self._roster.open):
            if seen.state is not State.PROCESSING or seen.started_at is None:
                continue
            run = seen
            if timing.job_timeout is not None and not run.timed_out and tick.at - seen.started_at > timing.job_timeout:
                run = self._lifecycle.time_out(tick.at, run, changes)
            self._look_at_progress(tick.at, run, seen.started_at, changes)
        gone = self._roster.forget_finished(tick.at, timing.keep_finished, timing.max_finished)
        changes += [Forgotten(tick.at, run) for run in gone]
        return changes

    def _look_at_progress(self, at: float, run: Run, started: float, changes: list[Transition]) -> None:
        """Without events time alone tells: how far a run should have come, and when it has been quiet for too long."""
        expected = self._expect(run)
        patience = self._timing.stall_timeout
        if self._hearing.heard_at(run.prompt_id) is not None:
            run = self._heard_runs.show_progress(at, run, changes, stalled=run.stalled)
        elif expected is None:
            patience *= DEAF_STALL_FACTOR
        else:
            patience = max(patience, DEAF_STALL_ESTIMATES * expected.high)
            if run.progress.estimated:
                run = self._guess_progress(at, run, (at - started) / expected.median, changes)
        if not run.stalled and at - max(started, self._lifecycle.last_activity or 0.0) > patience:
            self._lifecycle.change(at, replace(run, stalled=True), changes)

    def _guess_progress(self, at: float, run: Run, share: float, changes: list[Transition]) -> Run:
        # Past its estimate it comes ever slower nearer to the end, since nobody knows.
        percent = round(95 * share if share < 0.9 else NEARLY - (NEARLY - 85.5) * 0.9 / share, 1)
        if percent < run.progress.percent + _LEAST_CHANGE:
            return run
        return self._lifecycle.move(at, run, Progress(percent), changes, stalled=run.stalled)
