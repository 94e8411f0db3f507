"""The life of every run on one ComfyUI: observations in, transitions out, no I/O and no clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import assert_never

from comfyui_exporter.tracker.attachment import ATTACH_WITHIN, attach
from comfyui_exporter.tracker.estimate import Estimate
from comfyui_exporter.tracker.ground import Ground
from comfyui_exporter.tracker.heard_runs import HeardRuns
from comfyui_exporter.tracker.hearing import Hearing
from comfyui_exporter.tracker.lifecycle import Lifecycle
from comfyui_exporter.tracker.memory import Changes, Mark, Memory
from comfyui_exporter.tracker.node_reports import NodeReports
from comfyui_exporter.tracker.observations import (
    EventsMissed,
    ExecutionBegan,
    ExecutionOver,
    HistoryEntry,
    HistoryLookup,
    HistoryPage,
    NodesCached,
    NodesHeard,
    Observation,
    QueueRead,
    Restarted,
    Tick,
)
from comfyui_exporter.tracker.patience import DEAF_STALL_ESTIMATES, DEAF_STALL_FACTOR, Patience
from comfyui_exporter.tracker.progress import NodeReport
from comfyui_exporter.tracker.queue_matching import QueueMatching
from comfyui_exporter.tracker.registration import Registration
from comfyui_exporter.tracker.roster import Roster
from comfyui_exporter.tracker.runs import Run, State
from comfyui_exporter.tracker.settlement import Settlement
from comfyui_exporter.tracker.timing import Timing
from comfyui_exporter.tracker.transitions import ServerRestarted, Transition

__all__ = ["ATTACH_WITHIN", "DEAF_STALL_ESTIMATES", "DEAF_STALL_FACTOR", "Timing", "Tracker"]


def _nothing_known(_run: Run) -> Estimate | None:
    return None


def _nothing_registered(_prompt_id: str) -> Registration | None:
    return None


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
        self.ground = Ground()
        self._begun = False
        self._roster = Roster()
        self._reports = NodeReports(self.hearing)
        self._lifecycle = Lifecycle(self._roster, self._reports, new_id, expect, claim)
        self._queue = QueueMatching(self._roster, self._lifecycle)
        self._history = Settlement(self._roster, self._lifecycle, self.ground, classify, self.timing.job_grace)
        self._heard = HeardRuns(self._roster, self._lifecycle, self.hearing)
        self._patience = Patience(self._roster, self._lifecycle, self.hearing, self._heard, self.timing, expect)

    # What is known

    @property
    def epoch(self) -> int:
        """How many restarts of ComfyUI were seen."""
        return self._roster.epoch

    @property
    def last_activity(self) -> float | None:
        """When something last showed that the server works; None if nothing did."""
        return self._lifecycle.last_activity

    @property
    def open_runs(self) -> Iterable[Run]:
        """Every run without an end."""
        return self._roster.open

    @property
    def finished_runs(self) -> Iterable[Run]:
        """The runs that ended lately, oldest end first."""
        return self._roster.finished

    def count_detailed(self, prompt_id: str, number: float) -> int:
        """How many open runs there are of this queue item of which it is known what was submitted.

        One item may stand in the queue several times.
        """
        return sum(run.looked_into for run in self._roster.twins((prompt_id, number)))

    def likely_running(self) -> Run | None:
        """The run that executes, as far as we know or may presume."""
        running = [run for run in self._roster.open if run.state is State.PROCESSING]
        return min(running, key=lambda run: (not run.seen_running, run.started_at or 0.0, run.order), default=None)

    def nodes_of(self, run: Run, at: float) -> tuple[NodeReport, ...]:
        """Give every node of a run with what was heard of it; empty for one that ended long ago."""
        return self._reports.of(run, at)

    def due_lookups(self, at: float) -> list[str]:
        """The prompt_ids whose history entry must be asked for now to settle a run that left the queue."""
        return self._roster.due_lookups(at, self.timing.job_grace)

    def next_due(self) -> float | None:
        """When the next second look falls due; None if no run waits for one."""
        return self._roster.next_due(self.timing.job_grace)

    # What happens

    def begin(self, mark: HistoryEntry | None) -> None:
        """Start from the newest history entry of the very first look: nothing up to it is counted."""
        self.ground.begin(mark)
        self._begun = True

    def restore(self, memory: Memory) -> None:
        """Continue in place of a first look. Whether ComfyUI is still the same process is for others to find out."""
        mark = memory.mark
        self._roster.restore(mark.epoch, (*memory.finished_runs, *memory.open_runs), memory.vanished)
        self.ground.restore(memory.known)
        self.ground.newest, self.ground.before_ms, self.ground.dated = mark.newest, mark.before_ms, mark.dated
        for prompt_id in mark.named:
            self.hearing.name(prompt_id)
        self._lifecycle.last_activity = mark.last_activity
        self._begun = True

    def remember(self) -> Memory | None:
        """Give all that another tracker needs to continue in our place; None before the first look."""
        mark = self.mark
        if mark is None:
            return None
        return Memory(
            mark,
            self.ground.remember(),
            tuple(self._roster.open),
            tuple(self._roster.finished),
            self._roster.vanished,
        )

    # What is to be kept

    @property
    def mark(self) -> Mark | None:
        """How far the history was read; None before the first look."""
        if not self._begun:
            return None
        ground = self.ground
        return Mark(
            self.epoch, ground.newest, ground.before_ms, ground.dated, tuple(self.hearing.named), self.last_activity
        )

    def record(self) -> None:
        """From now on note what changes, for `take_changes`."""
        self._roster.changes, self._roster.changed = {}, False
        self.ground.changes = {}

    @property
    def has_changes(self) -> bool:
        """Whether something changed since `take_changes` was last called, other than how far runs have come."""
        return self._roster.changed or bool(self.ground.changes)

    def take_changes(self) -> Changes:
        """Give what changed since the last call; both parts belong to the same moment."""
        changes = Changes(self._roster.changes or {}, self.ground.changes or {})
        self.record()
        return changes

    def apply(self, observation: Observation) -> list[Transition]:  # noqa: PLR0911  one line for each kind
        """Take in one observation and say what it changed."""
        match observation:
            case QueueRead():
                return self._queue.apply(observation)
            case HistoryLookup():
                return self._history.apply_lookup(observation)
            case HistoryPage():
                return self._history.apply_page(observation)
            case Restarted():
                return self._restart(observation)
            case Tick():
                return self._patience.apply(observation)
            case EventsMissed():
                self.hearing.miss(observation)
                return []
            case ExecutionBegan() | NodesCached() | NodesHeard() | ExecutionOver():
                return self._heard.apply(observation)
            case _:
                assert_never(observation)

    def attach(self, at: float, registration: Registration) -> list[Transition] | None:
        """Give an open run of its prompt_id, or one that ended lately, what was registered; None if there is none."""
        return attach(self._roster, self._lifecycle, at, registration)

    def _restart(self, restart: Restarted) -> list[Transition]:
        changes: list[Transition] = [ServerRestarted(restart.at)]
        self._roster.begin_epoch()
        self.ground.begin_anew()
        for run in list(self._roster.open):
            self._lifecycle.change(restart.at, replace(run, state=State.COMPLETING, stalled=False), changes)
        return changes
