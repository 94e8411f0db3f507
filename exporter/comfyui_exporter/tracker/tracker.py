"""The life of every run on one ComfyUI: observations in, transitions out, no I/O and no clock of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import assert_never

from comfyui_exporter.tracker.estimate import Estimate
from comfyui_exporter.tracker.ground import Ground
from comfyui_exporter.tracker.hearing import Hearing
from comfyui_exporter.tracker.observations import (
    Details,
    EventsMissed,
    ExecutionBegan,
    ExecutionOver,
    HistoryEntry,
    HistoryLookup,
    HistoryPage,
    NodesCached,
    NodesHeard,
    Observation,
    Outcome,
    QueueItem,
    QueueRead,
    Restarted,
    Tick,
)
from comfyui_exporter.tracker.progress import NEARLY, NodeReport, Progress, RunProgress
from comfyui_exporter.tracker.registration import Registration
from comfyui_exporter.tracker.runs import Run, State
from comfyui_exporter.tracker.transitions import (
    Changed,
    Ended,
    Forgotten,
    NodeTimed,
    Progressed,
    ServerRestarted,
    Started,
    Submitted,
    TimedOut,
    Transition,
)

Key = tuple[str, float]

DEAF_STALL_FACTOR = 6
"""A job whose events we cannot hear may just be silent: it is flagged only past this many stall_timeouts."""

DEAF_STALL_ESTIMATES = 3
"""With an estimate, it is flagged past so many times its upper end, but not before stall_timeout."""

MAX_VANISHED = 10_000

ATTACH_WITHIN = 900.0
"""Seconds for which a registration still finds a run that ended."""

_LEAST_CHANGE = 0.1
"""Percent by which an estimated progress must have grown to be told."""

_REPORTS_KEPT = 200
"""Ended runs of which what was heard of their nodes is kept."""


def _nothing_known(_run: Run) -> Estimate | None:
    return None


def _nothing_registered(_prompt_id: str) -> Registration | None:
    return None


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the tracker waits for things; seconds."""

    job_grace: float = 30.0
    keep_finished: float = 900.0
    max_finished: int = 10_000
    job_timeout: float | None = None
    stall_timeout: float = 600.0


class Tracker:
    """Keeps every run of one server.

    `new_id` makes a run_id; `classify` names the failure pattern of (exception_type, message, node_type); `expect`
    tells how long such runs take; `claim` gives what was registered for a prompt_id that no run has yet.
    """

    def __init__(
        self,
        new_id: Callable[[], str],
        classify: Callable[[str, str, str], str],
        timing: Timing | None = None,
        expect: Callable[[Run], Estimate | None] = _nothing_known,
        claim: Callable[[str], Registration | None] = _nothing_registered,
    ) -> None:
        self.timing = timing or Timing()
        self.hearing = Hearing()
        self._expect = expect
        self._claim = claim
        self._reports: deque[tuple[str, RunProgress]] = deque(maxlen=_REPORTS_KEPT)
        self.ground = Ground()
        self.epoch = 0
        self.last_activity: float | None = None
        self._new_id = new_id
        self._classify = classify
        self._open: dict[str, Run] = {}
        self._by_key: dict[Key, list[str]] = {}
        """Open runs of this epoch, in the order in which they were first seen."""
        self._unlisted: dict[str, float | None] = {}
        """Open runs that left the queue, and when the history first had no entry for them."""
        self._finished: deque[Run] = deque()
        self._vanished: dict[tuple[int, Key], int] = {}
        """Lost and cancelled runs by key: should one turn up in the history after all, it was counted already."""
        self._queue_read = False

    # What is known

    @property
    def open_runs(self) -> Iterable[Run]:
        """Every run without an end."""
        return self._open.values()

    @property
    def finished_runs(self) -> Iterable[Run]:
        """The runs that ended lately, oldest end first."""
        return self._finished

    def count_detailed(self, prompt_id: str, number: float) -> int:
        """How many open runs there are of this queue item of which it is known what was submitted.

        One item may stand in the queue several times.
        """
        return sum(self._open[run_id].detailed for run_id in self._by_key.get((prompt_id, number), ()))

    def likely_running(self) -> Run | None:
        """The run that executes, as far as we know or may presume."""
        running = [run for run in self._open.values() if run.state is State.PROCESSING]
        return min(running, key=lambda run: (not run.seen_running, run.started_at or 0.0, run.order), default=None)

    def nodes_of(self, run: Run, at: float) -> tuple[NodeReport, ...]:
        """Give every node of a run with what was heard of it; empty for one that ended long ago."""
        if run.state is State.PROCESSING and (heard := self.hearing.progress_of(run.prompt_id)) is not None:
            return heard.report(at)
        heard = next((heard for run_id, heard in self._reports if run_id == run.run_id), None)
        if heard is None:
            heard = RunProgress(run.details.graph, self.hearing.costs, since_start=False)
        return heard.report(at if run.ended_at is None else run.ended_at)

    def due_lookups(self, at: float) -> list[str]:
        """The prompt_ids whose history entry must be asked for now to settle a run that left the queue."""
        due = dict[str, None]()
        for run_id, first_missed in self._unlisted.items():
            if first_missed is None or at >= first_missed + self.timing.job_grace:
                due[self._open[run_id].prompt_id] = None
        return list(due)

    def next_due(self) -> float | None:
        """When the next second look falls due; None if no run waits for one."""
        waits = [missed + self.timing.job_grace for missed in self._unlisted.values() if missed is not None]
        return min(waits, default=None)

    # What happens

    def begin(self, mark: HistoryEntry | None) -> None:
        """Start from the newest history entry of the very first look: nothing up to it is counted."""
        self.ground.begin(mark)

    def apply(self, observation: Observation) -> list[Transition]:  # noqa: PLR0911  one line for each kind
        """Take in one observation and say what it changed."""
        match observation:
            case QueueRead():
                return self._apply_queue(observation)
            case HistoryLookup():
                return self._apply_lookup(observation)
            case HistoryPage():
                return self._apply_page(observation)
            case Restarted():
                return self._apply_restart(observation)
            case Tick():
                return self._apply_tick(observation)
            case EventsMissed():
                self.hearing.miss(observation)
                return []
            case ExecutionBegan() | NodesCached() | NodesHeard() | ExecutionOver():
                return self._apply_event(observation)
            case _:
                assert_never(observation)

    # The queue

    def _apply_queue(self, read: QueueRead) -> list[Transition]:
        changes: list[Transition] = []
        listed: dict[Key, tuple[list[QueueItem], list[QueueItem]]] = {}
        for column, items in enumerate((read.running, read.pending)):
            for item in items:
                listed.setdefault((item.prompt_id, item.number), ([], []))[column].append(item)
        present = set[str]()
        for key, (running, pending) in listed.items():
            present |= self._match(read.at, key, running, pending, changes)
        if read.running:
            self._contradict(read, changes)
        if read.complete:
            for ids in self._by_key.values():
                for run_id in ids:
                    if run_id not in present and run_id not in self._unlisted:
                        self._unlisted[run_id] = None
                        self._change(read.at, replace(self._open[run_id], state=State.COMPLETING), changes)
        self._queue_read = True
        self._presume(read.at, changes)
        return changes

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
        runs = [self._open[run_id] for run_id in self._by_key.get(key, ())]
        details = [item.details for item in (*running, *pending) if item.details is not None]
        # What runs was started before what waits, and what was seen running never waits again.
        runs.sort(key=lambda run: not run.seen_running)
        for _ in running:
            run = runs.pop(0) if runs else None
            run = self._detail(at, run, details, changes) if run else self._submit(at, key, details, changes)
            present.add(run.run_id)
            self._show_running(at, run, changes)
        for _ in pending:
            # One that was heard to run is the last of them to wait.
            unseen = [run for run in runs if not run.seen_running]
            waiting = min(unseen, key=lambda run: run.heard_at is not None, default=None)
            if waiting is None:
                waiting = self._submit(at, key, details, changes)
            else:
                runs.remove(waiting)
                waiting = self._detail(at, waiting, details, changes)
            present.add(waiting.run_id)
            self._show_pending(at, waiting, changes)
        return present

    def _detail(self, at: float, run: Run, details: list[Details], changes: list[Transition]) -> Run:
        """Take up what was submitted, if that was not known; only then is the run told of."""
        if run.detailed or not details:
            return run
        told = details.pop(0)
        if run.registration is not None:
            told = run.registration.applied_to(told)
        known = self._put(replace(run, details=told, detailed=True))
        changes.append(Submitted(at, known))
        return known

    def _submit(self, at: float, key: Key, details: list[Details], changes: list[Transition]) -> Run:
        """Open a run; where what was submitted is not known yet, its twins may tell, else it is told of later."""
        twins = self._by_key.setdefault(key, [])
        known = (
            details.pop(0)
            if details
            else next((self._open[twin].details for twin in twins if self._open[twin].detailed), None)
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
            epoch=self.epoch,
            first_seen=at,
            detailed=known is not None,
            submission_seen=self._queue_read,
        )
        twins.append(run.run_id)
        self._open[run.run_id] = run
        if run.detailed:
            changes.append(Submitted(at, run))
        return run

    def _show_running(self, at: float, run: Run, changes: list[Transition]) -> None:
        self._unlisted.pop(run.run_id, None)
        if run.seen_running and run.state is State.PROCESSING:
            return
        start_seen = run.start_seen or run.first_seen < at
        shown = replace(self._begun(at, run), seen_running=True, start_seen=start_seen)
        self.last_activity = at
        if run.started_at is None:
            self._start(at, shown, changes)
        else:
            self._change(at, shown, changes)

    def _begun(self, at: float, run: Run) -> Run:
        """Let a run execute, from now on unless it did before."""
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

    def _show_pending(self, at: float, run: Run, changes: list[Transition]) -> None:
        self._unlisted.pop(run.run_id, None)
        match run.state:
            case State.COMPLETING:
                self._change(at, _waiting(run), changes)
            case State.PROCESSING:
                # Between two jobs nothing runs for a moment: it may start right now, so when it did is not known.
                self._put(replace(run, start_seen=False))
            case _:
                pass

    def _contradict(self, read: QueueRead, changes: list[Transition]) -> None:
        """Another job runs, so those that were only presumed to run wait."""
        for run in [run for run in self._open.values() if run.state is State.PROCESSING and not run.seen_running]:
            if run.heard_at is None or run.heard_at < read.since:
                self._change(read.at, _waiting(run), changes)

    def _presume(self, at: float, changes: list[Transition]) -> None:
        """ComfyUI runs one job at a time and is never idle with jobs waiting: without other news the first one runs."""
        waiting: Run | None = None
        for run in self._open.values():
            if run.state is State.PROCESSING:
                return
            if run.state is State.QUEUED and (waiting is None or run.order < waiting.order):
                waiting = run
        if waiting is not None:
            self._start(at, self._begun(at, waiting), changes)

    # Events

    def _apply_event(self, event: ExecutionBegan | NodesCached | NodesHeard | ExecutionOver) -> list[Transition]:
        changes: list[Transition] = [NodeTimed(event.at, timed) for timed in self.hearing.hear(event)]
        run = self._run_heard_of(event.prompt_id)
        if run is None:
            if not isinstance(event, ExecutionOver):
                self.hearing.name(event.prompt_id)
            return changes
        if isinstance(event, ExecutionOver):
            return changes
        self.last_activity = event.at
        if run.state is not State.PROCESSING or run.heard_at is None:
            run = self._hear_running(event.at, run, changes)
        self._show_progress(event.at, run, changes, stalled=False)
        return changes

    def _run_heard_of(self, prompt_id: str) -> Run | None:
        runs = [run for run in self._open.values() if run.prompt_id == prompt_id and run.epoch == self.epoch]
        return min(runs, key=lambda run: (run.state is not State.PROCESSING, run.order), default=None)

    def _hear_running(self, at: float, run: Run, changes: list[Transition]) -> Run:
        """An event names it as executing, so what was only presumed to run waits."""
        if run.state is State.COMPLETING:
            # It left the queue, and what is told of it late is no news.
            return run
        for other in list(self._open.values()):
            presumed = other.state is State.PROCESSING and not other.seen_running and other.heard_at is None
            if presumed and other.run_id != run.run_id:
                self._change(at, _waiting(other), changes)
        heard = replace(self._begun(at, run), heard_at=at)
        if run.started_at is None:
            self._start(at, heard, changes)
        else:
            self._change(at, heard, changes)
        return heard

    def _show_progress(self, at: float, run: Run, changes: list[Transition], *, stalled: bool) -> None:
        heard = self.hearing.progress_of(run.prompt_id)
        if heard is None or run.state is not State.PROCESSING:
            return
        if heard.graph is None and run.detailed:
            changes += [NodeTimed(at, timed) for timed in heard.learn_graph(run.details.graph)]
        progress = heard.now(at, run.progress.percent)
        if progress != run.progress or stalled != run.stalled:
            moved = self._put(replace(run, progress=progress, stalled=stalled))
            if run.detailed:
                changes.append(Progressed(at, moved))

    # The history

    def _apply_lookup(self, lookup: HistoryLookup) -> list[Transition]:
        changes: list[Transition] = []
        if lookup.entry is not None:
            self._settle(lookup.at, lookup.entry, changes, may_be_new=not self._from_before(lookup.entry))
        for run_id, first_missed in list(self._unlisted.items()):
            run = self._open.get(run_id)
            if run is None or run.prompt_id != lookup.prompt_id:
                continue
            if first_missed is None:
                self._unlisted[run_id] = lookup.at
            elif lookup.at >= first_missed + self.timing.job_grace:
                self._vanish(lookup.at, run, changes)
        self._presume(lookup.at, changes)
        return changes

    def _apply_page(self, page: HistoryPage) -> list[Transition]:
        changes: list[Transition] = []
        holds = max((i for i, entry in enumerate(page.entries) if self.ground.holds(entry.identity)), default=None)
        for index, entry in enumerate(page.entries):
            # Above ground everything is new. Below it only a reused id in its old place can be, and that joins its open
            # run. In a page without ground the start tells what was there before us.
            may_be_new = index > holds if holds is not None else not self._from_before(entry)
            self._settle(page.at, entry, changes, may_be_new=may_be_new)
        self._presume(page.at, changes)
        return changes

    def _from_before(self, entry: HistoryEntry) -> bool:
        before = self.ground.before_ms
        return before is not None and entry.started_ms is not None and entry.started_ms <= before

    def _settle(self, at: float, entry: HistoryEntry, changes: list[Transition], *, may_be_new: bool) -> None:
        if self.ground.knows(entry.identity):
            return
        key = (entry.prompt_id, entry.number)
        candidates = [self._open[run_id] for run_id in self._by_key.get(key, ())]
        run = min(candidates, key=lambda run: (not run.seen_running, run.state is State.QUEUED), default=None)
        if run is None:
            if not may_be_new:
                return
            if self._vanished.get((self.epoch, key), 0) > 0:
                self._vanished[self.epoch, key] -= 1
                self.ground.add(entry.identity)
                return
            run = self._submit(at, key, [entry.details], changes)
        run = self._detail(at, run, [entry.details], changes)
        self.ground.add(entry.identity)
        pattern = ""
        state = State(entry.outcome.value)
        if entry.outcome is Outcome.FAILED:
            failure = entry.failure
            pattern = (
                self._classify(failure.exception_type, failure.message, failure.node_type)
                if failure is not None
                else self._classify("", "", "")
            )
        self._end(at, replace(run, state=state, entry=entry, pattern=pattern), changes)

    # Ends

    def _vanish(self, at: float, run: Run, changes: list[Transition]) -> None:
        lost = run.seen_running or run.heard_at is not None or run.epoch < self.epoch
        slot = (run.epoch, (run.prompt_id, run.number))
        self._vanished[slot] = self._vanished.get(slot, 0) + 1
        while len(self._vanished) > MAX_VANISHED:
            del self._vanished[next(iter(self._vanished))]
        self._end(at, replace(run, state=State.LOST if lost else State.CANCELLED), changes)

    def _end(self, at: float, run: Run, changes: list[Transition]) -> None:
        run = self._detail(at, run, [run.details], changes)
        ended = replace(run, ended_at=at, stalled=False)
        heard = self.hearing.forget(run.prompt_id)
        if heard is not None:
            changes += [NodeTimed(at, timed) for timed in heard.learn_graph(run.details.graph)]
            self._reports.append((run.run_id, heard))
        del self._open[run.run_id]
        self._unlisted.pop(run.run_id, None)
        key = (run.prompt_id, run.number)
        ids = self._by_key.get(key)
        if ids is not None and run.run_id in ids:
            ids.remove(run.run_id)
            if not ids:
                del self._by_key[key]
        if ended.state is not State.CANCELLED:
            self.last_activity = at
        self._finished.append(ended)
        changes.append(Ended(at, ended))

    def _apply_restart(self, restart: Restarted) -> list[Transition]:
        changes: list[Transition] = [ServerRestarted(restart.at)]
        self.epoch += 1
        self.ground.begin_anew()
        self._by_key.clear()
        for run_id, run in list(self._open.items()):
            self._unlisted.setdefault(run_id, None)
            self._change(restart.at, replace(run, state=State.COMPLETING, stalled=False), changes)
        return changes

    # Time

    def _apply_tick(self, tick: Tick) -> list[Transition]:
        changes: list[Transition] = []
        timing = self.timing
        for run in list(self._open.values()):
            if run.state is not State.PROCESSING or run.started_at is None:
                continue
            if timing.job_timeout is not None and not run.timed_out and tick.at - run.started_at > timing.job_timeout:
                run = self._put(replace(run, timed_out=True))  # noqa: PLW2901
                changes.append(TimedOut(tick.at, run))
            self._look_at_progress(tick.at, run, changes)
        while self._finished and (
            len(self._finished) > timing.max_finished
            or tick.at - (self._finished[0].ended_at or 0.0) > timing.keep_finished
        ):
            changes.append(Forgotten(tick.at, self._finished.popleft()))
        return changes

    def _look_at_progress(self, at: float, run: Run, changes: list[Transition]) -> None:
        """Without events time alone tells: how far a run should have come, and when it has been quiet for too long."""
        started = at if run.started_at is None else run.started_at
        expected = self._expect(run)
        patience = self.timing.stall_timeout
        if self.hearing.heard_at(run.prompt_id) is not None:
            self._show_progress(at, run, changes, stalled=run.stalled)
            run = self._open[run.run_id]
        elif expected is None:
            patience *= DEAF_STALL_FACTOR
        else:
            patience = max(patience, DEAF_STALL_ESTIMATES * expected.high)
            if run.progress.estimated:
                run = self._guess_progress(at, run, (at - started) / expected.median, changes)
        if not run.stalled and at - max(started, self.last_activity or 0.0) > patience:
            self._change(at, replace(run, stalled=True), changes)

    def _guess_progress(self, at: float, run: Run, share: float, changes: list[Transition]) -> Run:
        # Past its estimate it comes ever slower nearer to the end, since nobody knows.
        percent = round(95 * share if share < 0.9 else NEARLY - (NEARLY - 85.5) * 0.9 / share, 1)
        if percent < run.progress.percent + _LEAST_CHANGE:
            return run
        guessed = self._put(replace(run, progress=Progress(percent)))
        if run.detailed:
            changes.append(Progressed(at, guessed))
        return guessed

    # Registration

    def attach(self, at: float, registration: Registration) -> list[Transition] | None:
        """Give an open run of its prompt_id, or one that ended lately, what was registered; None if there is none."""
        runs = [run for run in self._open.values() if run.prompt_id == registration.prompt_id]
        run = max(runs, key=lambda run: run.first_seen, default=None)
        if run is not None:
            changes: list[Transition] = []
            details = registration.applied_to(run.details)
            self._change(at, replace(run, details=details, registration=registration), changes)
            return changes
        for place in reversed(range(len(self._finished))):
            ended = self._finished[place]
            late = ended.ended_at is not None and at - ended.ended_at > ATTACH_WITHIN
            if ended.prompt_id != registration.prompt_id or late:
                continue
            if ended.registered and str(ended.details.job_id) == str(registration.job_id):
                return []  # said once more, as by whoever got no answer the first time
            if not ended.registered:
                known = replace(ended, details=registration.applied_to(ended.details), registration=registration)
                self._finished[place] = known
                return [Changed(at, known)]
        return None

    # Bookkeeping

    def _start(self, at: float, run: Run, changes: list[Transition]) -> None:
        self._put(run)
        if run.detailed:
            changes.append(Started(at, run))

    def _change(self, at: float, run: Run, changes: list[Transition]) -> None:
        if self._open.get(run.run_id) != run:
            self._put(run)
            if run.detailed:
                changes.append(Changed(at, run))

    def _put(self, run: Run) -> Run:
        self._open[run.run_id] = run
        return run


def _waiting(run: Run) -> Run:
    return replace(run, state=State.QUEUED, started_at=None, start_seen=False, heard_at=None, stalled=False)
