"""Estimates for a server whose jobs of before are read only after it is watched: to learn takes longer than to read."""

from __future__ import annotations

from collections.abc import Callable

from comfyui_exporter.eta.predictor import LearningPredictor
from comfyui_exporter.tracker.estimate import Estimate
from comfyui_exporter.tracker.runs import Run


class LatePredictor:
    """Learns what is to come before anything else; what it is told in the meantime waits for that.

    Until then it predicts nothing. If no lessons are to come, it is a LearningPredictor.
    """

    def __init__(self) -> None:
        self._own = LearningPredictor()
        self._expected = 0
        self._waiting: list[tuple[Callable[[Run], None], Run]] | None = None
        """What was told while lessons are to come; None: none are."""
        self.asked = False
        """Whether an estimate was wanted that waits for them."""

    @property
    def version(self) -> int:
        """Another number than before, if predictions may differ from before."""
        return self._own.version

    @property
    def lessons(self) -> int:
        """How many jobs were learned from, or are about to be."""
        return self._own.lessons if self._waiting is None else max(self._expected, self._own.lessons)

    def expect(self, lessons: int) -> None:
        """So many runs are going to be taught."""
        self._expected = lessons
        self._waiting = []

    def teach(self, run: Run) -> None:
        """Take in a run that ended before anything that was told since; they come in the order of their ends."""
        self._own.learn(run)

    def taught(self) -> None:
        """All that was to come has come: what was told meanwhile follows."""
        waiting, self._waiting = self._waiting, None
        for tell, run in waiting or ():
            tell(run)

    def started(self, run: Run) -> None:
        """Be told that a run started."""
        self._tell(self._own.started, run)

    def learn(self, run: Run) -> None:
        """Take in a run that ended."""
        self._tell(self._own.learn, run)

    def recall(self, run: Run) -> None:
        """Take in a run that ended before all others."""
        self._tell(self._own.recall, run)

    def predict(self, run: Run, after: Run | None = None) -> Estimate | None:
        """Say how long a run should take; None if nothing is known yet."""
        if self._waiting is not None:
            self.asked = True
            return None
        return self._own.predict(run, after)

    def _tell(self, tell: Callable[[Run], None], run: Run) -> None:
        if self._waiting is None:
            tell(run)
        else:
            self._waiting.append((tell, run))
