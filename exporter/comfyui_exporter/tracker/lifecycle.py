"""The steps in the life of a run: each is noted in the roster and told, whoever found out about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from comfyui_exporter.tracker.estimate import Estimate
from comfyui_exporter.tracker.node_reports import NodeReports
from comfyui_exporter.tracker.observations import Details
from comfyui_exporter.tracker.progress import Progress
from comfyui_exporter.tracker.registration import Registration
from comfyui_exporter.tracker.roster import Key, Roster
from comfyui_exporter.tracker.runs import Run, State
from comfyui_exporter.tracker.transitions import (
    Changed,
    Ended,
    NodeTimed,
    Progressed,
    Started,
    Submitted,
    TimedOut,
    Transition,
)


class Lifecycle:
    """Takes runs from step to step. What is to be told is added to the `changes` that each step is given.

    A run is told of only once it is known what was submitted.
    """

    def __init__(
        self,
        roster: Roster,
        reports: NodeReports,
        new_id: Callable[[], str],
        expect: Callable[[Run], Estimate | None],
        claim: Callable[[str], Registration | None],
    ) -> None:
        self._roster = roster
        self._reports = reports
        self._new_id = new_id
        self._expect = expect
        self._claim = claim
        self.last_activity: float | None = None
        """When something last showed that the server works."""
        self.queue_read = False
        """Whether the queue was read before, so that a run that is new was submitted lately."""

    # Submission

    def submit(self, at: float, key: Key, details: list[Details], changes: list[Transition]) -> Run:
        """Open a run; where what was submitted is not known yet, its twins may tell, else it is told of later."""
        known = (
            details.pop(0)
            if details
            else next((twin.details for twin in self._roster.twins(key) if twin.detailed), None)
        )
        registration = self._claim(key[0])
        plain = known or Details()
        run = Run(
            run_id=registration.run_id if registration else self._new_id(),
            prompt_id=key[0],
            number=key[1],
            state=State.QUEUED,
            details=registration.applied_to(plain) if registration else plain,
            registration=registration,
            epoch=self._roster.epoch,
            first_seen=at,
            detailed=known is not None,
            submission_seen=self.queue_read,
        )
        self._roster.enter(run)
        if run.detailed:
            changes.append(Submitted(at, run))
        return run

    def detail(self, at: float, run: Run, details: list[Details], changes: list[Transition]) -> Run:
        """Take up what was submitted, if that was not known; only then is the run told of."""
        if run.looked_into or not details:
            return run
        told = details.pop(0)
        if run.detailed:
            # It was told of before we were restarted; what is missing is what is not kept.
            graph, features = told.graph, told.features or run.details.features
            return self._roster.put(
                replace(run, restored=False, details=replace(run.details, graph=graph, features=features))
            )
        if run.registration is not None:
            told = run.registration.applied_to(told)
        known = self._roster.put(replace(run, details=told, detailed=True, restored=False))
        changes.append(Submitted(at, known))
        return known

    # Execution

    def begun(self, at: float, run: Run) -> Run:
        """Give a run as one that executes, from now on unless it did before."""
        if run.started_at is not None:
            return replace(run, state=State.PROCESSING)
        expected = self._expect(run)
        return replace(
            run,
            state=State.PROCESSING,
            started_at=at,
            start_seen=run.start_seen or run.first_seen < at,
            predicted=None if expected is None else expected.median,
        )

    def begin(self, at: float, run: Run, begun: Run, changes: list[Transition]) -> None:
        """Let a run execute, as `begun` says; that is its start if it did not execute before."""
        if run.started_at is not None:
            self.change(at, begun, changes)
            return
        self._roster.put(begun)
        if begun.detailed:
            changes.append(Started(at, begun))

    def presume(self, at: float, changes: list[Transition]) -> None:
        """ComfyUI runs one job at a time and is never idle with jobs waiting: without other news the first one runs."""
        waiting: Run | None = None
        for run in self._roster.open:
            if run.state is State.PROCESSING:
                return
            if run.state is State.QUEUED and (waiting is None or run.order < waiting.order):
                waiting = run
        if waiting is not None:
            self.begin(at, waiting, self.begun(at, waiting), changes)

    def wait(self, at: float, run: Run, changes: list[Transition]) -> None:
        """Put a run back among those that wait."""
        waiting = replace(run, state=State.QUEUED, started_at=None, start_seen=False, heard_at=None, stalled=False)
        self.change(at, waiting, changes)

    def move(self, at: float, run: Run, progress: Progress, changes: list[Transition], *, stalled: bool) -> Run:
        """Note how far a run has come."""
        moved = self._roster.put(replace(run, progress=progress, stalled=stalled), minor=True)
        if run.detailed:
            changes.append(Progressed(at, moved))
        return moved

    def time_out(self, at: float, run: Run, changes: list[Transition]) -> Run:
        """Flag a run that executes for too long."""
        late = self._roster.put(replace(run, timed_out=True))
        changes.append(TimedOut(at, late))
        return late

    def change(self, at: float, run: Run, changes: list[Transition]) -> None:
        """Note what is known of a run now, if that is news."""
        if self._roster.get(run.run_id) != run:
            self._roster.put(run)
            if run.detailed:
                changes.append(Changed(at, run))

    # Its end

    def end(self, at: float, run: Run, changes: list[Transition]) -> None:
        """Give a run its one end: `run` is in the state that it ended in."""
        run = self.detail(at, run, [run.details], changes)
        ended = replace(run, ended_at=at, stalled=False)
        changes += [NodeTimed(at, timed) for timed in self._reports.end(run)]
        self._roster.end(ended)
        if ended.state is not State.CANCELLED:
            self.last_activity = at
        changes.append(Ended(at, ended))
