"""How long jobs took and why they failed, in a few numbers."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from statistics import fmean, median
from typing import Any

from comfyui_exporter.tracker.progress import Timed
from comfyui_exporter.tracker.runs import Run, State

_DURATIONS_KEPT = 1_000
_TYPES_KEPT = 1_000
OTHER = "other"


class Statistics:
    """Counts since the start. `title` turns a failure pattern into words."""

    def __init__(self, title: Callable[[str], str]) -> None:
        self._title = title
        self._durations: dict[str, deque[float]] = {}
        self._failures: Counter[str] = Counter()
        self._steps = 0
        self._step_seconds = 0.0

    def ended(self, run: Run) -> None:
        """Take in an end."""
        job_type = run.details.job_type
        if run.state is State.COMPLETED and run.duration is not None:
            if job_type not in self._durations and len(self._durations) >= _TYPES_KEPT:
                job_type = OTHER
            self._durations.setdefault(job_type, deque(maxlen=_DURATIONS_KEPT)).append(run.duration)
        elif run.state is State.FAILED:
            key = f"{job_type}:{self._title(run.pattern)}"
            if key not in self._failures and len(self._failures) >= _TYPES_KEPT:
                key = f"{OTHER}:{self._title(run.pattern)}"
            self._failures[key] += 1

    def timed(self, timed: Timed) -> None:
        """Take in how long steps took."""
        self._steps += timed.steps
        self._step_seconds += timed.steps * timed.seconds

    def summary(self) -> dict[str, Any]:
        """Give `generation_stats`; seconds, of completed jobs only."""
        return {
            "completion_times": {
                job_type: {
                    "count": len(durations),
                    "median": median(durations),
                    "mean": fmean(durations),
                    "min": min(durations),
                    "max": max(durations),
                }
                for job_type, durations in self._durations.items()
            },
            "average_step_duration": self._step_seconds / self._steps if self._steps else None,
            "failure_patterns": dict(self._failures),
        }
