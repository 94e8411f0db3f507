"""What of a job's work is spared or comes on top because of the job before it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from comfyui_exporter.tracker.observations import Features
from comfyui_exporter.tracker.runs import Run, State


class Situation(StrEnum):
    """How a job finds ComfyUI when it starts. Its cache holds the results of the job before, and nothing older."""

    WARM = "warm"
    """Its model is in memory, or it has none."""
    COLD = "cold"
    """Another model was used last, or none since ComfyUI started."""
    IN_PART = "in part"
    """The job before sampled the same, so that comes from the cache."""
    THE_SAME = "the same"
    """The job before was the same, so everything comes from the cache."""


@dataclass(frozen=True, slots=True)
class Traces:
    """What the jobs so far left in ComfyUI."""

    content: str = ""
    costly: str = ""
    model: str = ""

    def after(self, run: Run) -> Traces:
        """What is left after this run, however it ended or will end."""
        features = run.details.features
        if features is None:
            return Traces(model=self.model)
        model = features.model or self.model
        if run.state in {State.FAILED, State.INTERRUPTED}:
            return Traces(model=model)  # how far it got is not known
        return Traces(features.content, features.costly, model)

    def situation(self, features: Features) -> Situation:
        """How a job starts now."""
        if features.content and features.content == self.content:
            return Situation.THE_SAME
        if features.costly and features.costly == self.costly:
            return Situation.IN_PART
        if features.model and features.model != self.model:
            return Situation.COLD
        return Situation.WARM


NOTHING = Traces()
"""ComfyUI just started."""
