"""How long a server was busy: time with a job running."""

from __future__ import annotations

from collections.abc import Iterable

from comfyui_exporter.tracker.runs import Run


class BusyMeter:
    """Adds up running time between answered reads.

    A run that still runs has run since the last look. One that ended gives what its own timestamps say, less what it
    was given before, so that jobs too short to be seen running count too; no stretch of time is given twice.
    """

    def __init__(self) -> None:
        self._last: float | None = None
        self._running: str | None = None
        self._given: dict[str, float] = {}

    def advance(self, at: float, running: Run | None, ended: Iterable[Run]) -> float:
        """Account for the time since the last call: seconds busy in it."""
        elapsed = 0.0 if self._last is None else max(0.0, at - self._last)
        busy = 0.0
        for run in ended:
            given = self._given.pop(run.run_id, 0.0)
            if run.duration is not None:
                busy += max(0.0, run.duration - given)
            elif run.run_id == self._running:
                busy += elapsed
        if running is not None and running.run_id == self._running:
            busy += elapsed
            self._given[running.run_id] = self._given.get(running.run_id, 0.0) + elapsed
        self._running = running.run_id if running is not None else None
        self._given = {run_id: given for run_id, given in self._given.items() if run_id == self._running}
        self._last = at
        return min(busy, elapsed)
