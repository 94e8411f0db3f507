"""When each job of a queue will be done, and when the queue will be empty."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from comfyui_exporter.tracker.estimate import Estimate, Forecast
from comfyui_exporter.tracker.runs import Run, State

_BELIEVABLE = 5.0
"""Percent from which the pace of a run says something about the rest of it."""


def forecast(runs: Iterable[Run], predict: Callable[[Run], Estimate | None], at: float) -> Forecast:
    """Look ahead over the open runs, given in the order in which ComfyUI takes them."""
    ends: dict[str, float] = {}
    positions: dict[str, int] = {}
    free: float | None = at
    for run in runs:
        match run.state:
            case State.PROCESSING:
                rest = remaining(run, predict(run), at)
            case State.QUEUED:
                positions[run.run_id] = len(positions) + 1
                estimate = predict(run)
                rest = None if estimate is None else estimate.median
            case _:
                continue
        free = None if free is None or rest is None else free + rest
        if free is not None:
            ends[run.run_id] = free
    return Forecast(ends, positions, None if free is None else free - at)


def remaining(run: Run, estimate: Estimate | None, at: float) -> float | None:
    """Seconds that a running job still needs: the further it is, the more its own pace counts."""
    if run.started_at is None:
        return None
    elapsed = max(0.0, at - run.started_at)
    # Past its estimate a job is never about to end at this very moment.
    by_estimate = None if estimate is None else max(estimate.median - elapsed, 0.05 * estimate.median)
    percent = run.progress.percent
    if run.progress.estimated or percent < _BELIEVABLE:
        return by_estimate
    share = percent / 100
    by_pace = elapsed * (1 - share) / share
    return by_pace if by_estimate is None else share * by_pace + (1 - share) * by_estimate
