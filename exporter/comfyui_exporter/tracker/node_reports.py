"""What was heard of the nodes of each run, while it executes and for a while after its end."""

from __future__ import annotations

from collections import deque

from comfyui_exporter.tracker.hearing import Hearing
from comfyui_exporter.tracker.progress import NodeReport, RunProgress, Timed
from comfyui_exporter.tracker.runs import Run, State

_REPORTS_KEPT = 200
"""Ended runs of which what was heard of their nodes is kept."""


class NodeReports:
    """Says how each node of a run fared."""

    def __init__(self, hearing: Hearing) -> None:
        self._hearing = hearing
        self._ended: deque[tuple[str, RunProgress]] = deque(maxlen=_REPORTS_KEPT)

    def of(self, run: Run, at: float) -> tuple[NodeReport, ...]:
        """Give every node of a run with what was heard of it; empty for one that ended long ago."""
        if run.state is State.PROCESSING and (heard := self._hearing.progress_of(run.prompt_id)) is not None:
            return heard.report(at)
        heard = next((heard for run_id, heard in self._ended if run_id == run.run_id), None)
        if heard is None:
            heard = RunProgress(run.details.graph, self._hearing.costs, since_start=False)
        return heard.report(at if run.ended_at is None else run.ended_at)

    def end(self, run: Run) -> list[Timed]:
        """Keep what was heard of a run that ends, and give what was timed and is known only with its graph."""
        heard = self._hearing.forget(run.prompt_id)
        if heard is None:
            return []
        self._ended.append((run.run_id, heard))
        return heard.learn_graph(run.details.graph)
