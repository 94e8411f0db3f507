"""The series of batches: how many of their jobs are in which status on each server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice

from comfyui_exporter.jobs.update import ProgressStatus
from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.tracker.sink import Sink
from comfyui_exporter.tracker.view import ServerView

CountsOfBatches = Callable[[str], Iterable[tuple[str, Mapping[ProgressStatus, int]]]]
"""Gives the active batches of a server, the newest first, with the counts of their jobs on it."""


class BatchSink(Sink):
    """Shows the active batches of each server whenever the server is looked at; told after the one that counts them."""

    def __init__(self, store: MetricStore, active_on: CountsOfBatches) -> None:
        self._store = store
        self._active_on = active_on

    def view(self, server: str, view: ServerView, _at: float) -> None:
        """Show them; of a server that is down nothing, like all that its queue would tell."""
        shown = () if view.up is False else islice(self._active_on(server), families.BATCHES_SHOWN)
        self._store.replace(
            families.BATCH_JOBS,
            server,
            {(batch_id, status.value): count for batch_id, counts in shown for status, count in counts.items()},
        )
