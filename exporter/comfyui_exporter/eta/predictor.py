"""How long jobs take, learned from those that ended."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Protocol

from comfyui_exporter.tracker.estimate import Estimate
from comfyui_exporter.tracker.runs import Run, State

_SHAPES_KEPT = 1_000
_RUNS_KEPT = 50
"""Latest durations per shape; a server that became faster is believed soon."""


class Predictor(Protocol):
    """Learns from completed runs and predicts others; at once and without I/O."""

    def learn(self, run: Run) -> None:
        """Take in a run that ended."""

    def predict(self, run: Run) -> Estimate | None:
        """Say how long a run should take; None if nothing like it is known."""


class RecentDurations:
    """Predicts what jobs of the same graph took lately, else those of the same job type."""

    def __init__(self) -> None:
        self._durations: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()
        self._estimates: dict[tuple[str, str], Estimate] = {}

    def learn(self, run: Run) -> None:
        """Take in a completed run; others say nothing of how long such jobs take."""
        if run.state is not State.COMPLETED or run.duration is None:
            return
        if run.entry is not None and run.entry.nodes_executed == 0:
            return  # all of it came from the cache
        for key in _keys(run):
            durations = self._durations.setdefault(key, deque(maxlen=_RUNS_KEPT))
            self._durations.move_to_end(key)
            durations.append(run.duration)
            self._estimates.pop(key, None)
        while len(self._durations) > _SHAPES_KEPT:
            key, _ = self._durations.popitem(last=False)
            self._estimates.pop(key, None)

    def predict(self, run: Run) -> Estimate | None:
        """Say how long a run should take."""
        for key in _keys(run):
            durations = self._durations.get(key)
            if durations:
                if key not in self._estimates:
                    self._estimates[key] = _estimate(sorted(durations))
                return self._estimates[key]
        return None


def _keys(run: Run) -> list[tuple[str, str]]:
    graph = run.details.graph
    by_type = ("type", run.details.job_type)
    return [by_type] if graph is None else [("shape", graph.shape), by_type]


def _estimate(durations: list[float]) -> Estimate:
    def quantile(share: float) -> float:
        return durations[round(share * (len(durations) - 1))]

    return Estimate(quantile(0.1), max(quantile(0.5), 1e-3), max(quantile(0.9), 1e-3))
