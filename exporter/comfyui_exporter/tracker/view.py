"""One server at one moment: what gauges, pages and APIs show of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from comfyui_exporter.tracker.estimate import Forecast
from comfyui_exporter.tracker.observations import SystemStats
from comfyui_exporter.tracker.runs import Run, State


@dataclass(frozen=True, slots=True)
class ServerView:
    """A moment of one server. Points in time are in the clock of the observations."""

    up: bool | None
    """None until the first answer or the third failed try."""
    event_stream_connected: bool
    last_success: float | None
    last_activity: float | None
    running: int | None
    """Jobs that run and wait; None while not known."""
    pending: int | None
    open_runs: tuple[Run, ...]
    """Those in the queue or just gone from it: the running one first, then in the order in which ComfyUI takes them."""
    failed_runs: tuple[Run, ...]
    """The failures of late, newest first."""
    stats: SystemStats | None
    forecast: Forecast = field(default_factory=Forecast)

    @property
    def oldest_pending(self) -> float | None:
        """When the longest waiting job was first seen; None when nothing waits."""
        if not self.pending:
            return None
        return min((run.first_seen for run in self.open_runs if run.state is State.QUEUED), default=None)


def in_queue_order(runs: Iterable[Run]) -> tuple[Run, ...]:
    """Sort open runs: first what runs, then what waits, in the order in which ComfyUI takes it."""
    return tuple(sorted(runs, key=lambda run: (run.state is not State.PROCESSING, run.order)))
