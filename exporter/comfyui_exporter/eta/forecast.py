"""When each job of a queue will be done, and when the queue will be empty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comfyui_exporter.eta.predictor import Predictor
from comfyui_exporter.tracker.estimate import Estimate, Forecast
from comfyui_exporter.tracker.runs import Run, State

_BELIEVABLE = 5.0
"""Percent from which the pace of a run says something about the rest of it."""

_TIGHTEST = 1.1
"""However sure an estimate is, its upper end is taken as so many times the median: a job that is late is late."""

_ODDS = 9.0
"""Of ending before the upper end of an estimate, to ending after it."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """The jobs that wait, as seen from the moment at which the first of them starts."""

    ends: Mapping[str, float]
    """Seconds from then to the end of each, up to the first of which nothing is known."""
    positions: Mapping[str, int]
    seconds: Mapping[str, float]
    total: float | None


class Forecaster:
    """Looks ahead over the open runs of one server; what nothing happened to is not worked out again."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._waiting: tuple[tuple[Run, ...], str, int, _Waiting] | None = None

    def forecast(self, runs: Sequence[Run], at: float) -> Forecast:
        """Look ahead; the runs are in the order in which ComfyUI takes them, what runs first."""
        ends: dict[str, float] = {}
        seconds: dict[str, float] = {}
        free: float | None = at
        running = [run for run in runs if run.state is State.PROCESSING]
        for run in running:
            rest = remaining(run, self._predictor.predict(run), at)
            if rest is not None and run.started_at is not None:
                seconds[run.run_id] = max(0.0, at - run.started_at) + rest
            free = None if free is None or rest is None else free + rest
            if free is not None:
                ends[run.run_id] = free
        waiting = self._look_at_waiting(tuple(runs[len(running) :]), running[-1] if running else None)
        if free is not None:
            ends.update((run_id, free + end) for run_id, end in waiting.ends.items())
        drained = None if free is None or waiting.total is None else free + waiting.total - at
        return Forecast(ends, waiting.positions, drained, {**seconds, **waiting.seconds})

    def _look_at_waiting(self, runs: tuple[Run, ...], before: Run | None) -> _Waiting:
        name, version = "" if before is None else before.run_id, self._predictor.version
        if self._waiting is not None:
            *known, waiting = self._waiting
            if known == [runs, name, version]:
                return waiting
        waiting = self._work_out(runs, before)
        self._waiting = (runs, name, version, waiting)
        return waiting

    def _work_out(self, runs: tuple[Run, ...], before: Run | None) -> _Waiting:
        ends: dict[str, float] = {}
        positions: dict[str, int] = {}
        seconds: dict[str, float] = {}
        total: float | None = 0.0
        for run in runs:
            if run.state is State.QUEUED:
                positions[run.run_id] = len(positions) + 1
                estimate = self._predictor.predict(run, before)
                if estimate is None:
                    total = None
                else:
                    seconds[run.run_id] = estimate.median
                    if total is not None:
                        total += estimate.median
                        ends[run.run_id] = total
            elif before is not None:
                continue  # it left the queue before the one that runs started
            before = run
        return _Waiting(ends, positions, seconds, total)


def remaining(run: Run, estimate: Estimate | None, at: float) -> float | None:
    """Seconds that a running job still needs: the further it is, the more its own pace counts."""
    if run.started_at is None:
        return None
    elapsed = max(0.0, at - run.started_at)
    by_estimate = None if estimate is None else still_needed(estimate, elapsed)
    percent = run.progress.percent
    if run.progress.estimated or percent < _BELIEVABLE:
        return by_estimate
    share = percent / 100
    by_pace = elapsed * (1 - share) / share
    return by_pace if by_estimate is None else share * by_pace + (1 - share) * by_estimate


def still_needed(estimate: Estimate, elapsed: float) -> float:
    """Seconds that half of the jobs need still that did not end so far: the later one is, the later it may become.

    Durations are taken to have a log-logistic distribution: it has a tail as real ones have, and is solved by hand.
    The odds of having ended by t are (t / median) ** power.
    """
    median = estimate.median
    power = math.log(_ODDS) / math.log(max(_TIGHTEST, estimate.high / median))
    if elapsed <= median:
        return median * float((1 + 2 * (elapsed / median) ** power) ** (1 / power)) - elapsed
    return elapsed * (float((2 + (median / elapsed) ** power) ** (1 / power)) - 1)
