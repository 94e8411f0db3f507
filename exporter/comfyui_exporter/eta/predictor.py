"""How long jobs take, learned from those that ended."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from comfyui_exporter.eta.band import Bands
from comfyui_exporter.eta.model import WorkModel
from comfyui_exporter.eta.pace import Pace
from comfyui_exporter.eta.recent import LEAST_SECONDS, Recent
from comfyui_exporter.eta.situation import NOTHING, Situation, Traces
from comfyui_exporter.tracker.estimate import Estimate
from comfyui_exporter.tracker.observations import Features
from comfyui_exporter.tracker.runs import Run, State

_MOST_REMEMBERED = 5_000
"""Estimates kept between two ends of jobs; more than a queue that is watched has different jobs."""

_LOADING = 8.0
"""Seconds to load a model, until one was seen to be loaded."""

_PART = 0.2
"""Share of the time that is left of a job whose sampling comes from the cache, until that was seen."""

_AT_ONCE = 0.05
"""Seconds of a job that comes from the cache as a whole, until that was seen."""

_OWN_WEIGHT = 0.85
"""How much one job of the very same settings counts against the model."""

_ERRORS = {"often": 0.1, "own": 0.2, "shape": 0.25, "work": 0.5, "type": 0.6}
"""Evidence of an estimate, from the best to the worst, and how wrong it is until that was seen."""

_OFTEN = 4


class Predictor(Protocol):
    """Learns from ended runs and predicts others; at once and without I/O."""

    @property
    def version(self) -> int:
        """Another number than before, if predictions may differ from before."""

    def started(self, run: Run) -> None:
        """Be told that a run started: what it leaves in memory is what the next one finds."""

    def learn(self, run: Run) -> None:
        """Take in a run that ended; they come in the order of their ends."""

    def recall(self, run: Run) -> None:
        """Take in a run that ended before all others; such runs too come in the order of their ends."""

    def predict(self, run: Run, after: Run | None = None) -> Estimate | None:
        """Say how long a run should take that starts next, or right `after` another; None if nothing is known."""


class LearningPredictor:
    """Predicts by jobs of the same settings first, by how much work a graph asks for next, by the job type last."""

    def __init__(self) -> None:
        self._version = 0
        self._lessons = 0
        self._epoch: int | None = None
        self._traces = NOTHING
        """What the last run that ended left behind."""
        self._running: tuple[Run, Traces] | None = None
        """What started last, and what it found."""
        self._recalled = NOTHING
        """What the last run that was recalled left behind."""
        self._own = Recent[tuple[str, Situation]]()
        """Logarithms of seconds by fingerprint."""
        self._types = Recent[str](kinds=200)
        self._work = WorkModel()
        self._loading = Recent[str](kinds=200, values=8)
        """Seconds that loading a model added; "" for any."""
        self._parts = Recent[str](values=8)
        """Logarithm of the share that was left when sampling came from the cache, by shape; "" for any."""
        self._at_once = Recent[str](values=8)
        """Logarithms of seconds by shape; "" for any."""
        self._bands = Bands(_ERRORS)
        self._pace = Pace[tuple[Features, str, Situation, float]]()
        self._remembered: dict[tuple[str, str, str, Situation], tuple[Estimate | None, str]] = {}

    @property
    def lessons(self) -> int:
        """How many jobs were learned from."""
        return self._lessons

    @property
    def version(self) -> int:
        """How often something was told that may change predictions."""
        return self._version

    def started(self, run: Run) -> None:
        """Take note of what runs. Its end is often read only after the next one started."""
        self._version += 1
        self._running = (run, self._found_by(run))

    def learn(self, run: Run) -> None:
        """Take in an ended run; only completed ones say how long such jobs take."""
        self._version += 1
        if self._running is not None and self._running[0].run_id == run.run_id:
            self._running = None
        if run.state in {State.CANCELLED, State.LOST}:
            return
        before = self._left_in(run.epoch)
        self._epoch, self._traces = run.epoch, before.after(run)
        self._learn_from(run, before, self._weigh)

    def recall(self, run: Run) -> None:
        """Take in an old run, which says nothing of what is in memory now."""
        self._version += 1
        before, self._recalled = self._recalled, self._recalled.after(run)
        self._learn_from(run, before, self._learn)

    def predict(self, run: Run, after: Run | None = None) -> Estimate | None:
        """Say how long a run should take."""
        features = run.details.features
        job_type = run.details.job_type
        if features is None:
            situation, key = Situation.WARM, ("", job_type, "", Situation.WARM)
        else:
            found = self._found_by(run) if after is None else self._found_by(after).after(after)
            situation = found.situation(features)
            key = (features.fingerprint, job_type, features.model, situation)
        known = self._remembered.get(key)
        if known is None:
            known = self._estimate(features, job_type, situation)
            if len(self._remembered) < _MOST_REMEMBERED:
                self._remembered[key] = known
        return known[0]

    def _found_by(self, run: Run) -> Traces:
        """What this run finds if it starts next, or found when it started."""
        if self._running is not None and self._running[0].epoch == run.epoch:
            running, found = self._running
            return found if running.run_id == run.run_id else found.after(running)
        return self._left_in(run.epoch)

    def _left_in(self, epoch: int) -> Traces:
        if self._epoch is None:
            return self._recalled
        return self._traces if epoch == self._epoch else NOTHING

    # Learning

    def _learn_from(self, run: Run, before: Traces, learn: Callable[[Features, str, Situation, float], None]) -> None:
        duration = run.duration
        if run.state is not State.COMPLETED or duration is None:
            return
        seconds = max(LEAST_SECONDS, duration)
        features = run.details.features
        self._remembered.clear()
        self._lessons += 1
        situation = Situation.WARM if features is None else before.situation(features)
        entry = run.entry
        cached = entry is not None and entry.nodes_executed == 0 and entry.nodes_cached > 0
        if cached and situation is not Situation.THE_SAME:
            return  # something that we do not know of had it in its cache
        if features is None:
            self._types.learn(run.details.job_type, math.log(seconds) - self._pace.value)
            return
        learn(features, run.details.job_type, situation, seconds)

    def _weigh(self, features: Features, job_type: str, situation: Situation, seconds: float) -> None:
        """See how far off the estimate was, and learn, unless it is not clear yet what from."""
        estimate, evidence = self._estimate(features, job_type, situation)
        lesson = (features, job_type, situation, seconds)
        lessons = [lesson]
        if estimate is not None:
            error = math.log(seconds / estimate.median)
            usual = self._bands.usual_error((evidence, situation), features.shape)
            self._bands.learn((evidence, situation), features.shape, error)
            if evidence in {"own", "often"} and situation in {Situation.WARM, Situation.COLD}:
                lessons = self._pace.weigh(lesson, features.fingerprint, error, usual)
        for of, its_type, its_situation, its_seconds in lessons:
            self._learn(of, its_type, its_situation, its_seconds * math.exp(-self._pace.value))

    def _learn(self, features: Features, job_type: str, situation: Situation, seconds: float) -> None:
        value = math.log(seconds)
        self._own.learn((features.fingerprint, situation), value)
        match situation:
            case Situation.WARM:
                self._work.learn(features, job_type, value)
            case Situation.COLD:
                self._learn_cold(features, job_type, seconds)
            case Situation.IN_PART:
                warm = self._warm(features, job_type)
                if warm is not None:
                    for key in (features.shape, ""):
                        self._parts.learn(key, value - warm[0])
            case Situation.THE_SAME:
                for key in (features.shape, ""):
                    self._at_once.learn(key, value)
        if situation in {Situation.WARM, Situation.COLD}:
            self._types.learn(job_type, value)

    def _learn_cold(self, features: Features, job_type: str, seconds: float) -> None:
        """Tell the loading of the model from the rest, by what such jobs take when it is loaded."""
        warm = self._warm(features, job_type)
        if warm is not None and warm[1] != "work":
            added = max(0.0, seconds - math.exp(warm[0]))
            for key in (features.model, ""):
                self._loading.learn(key, added)
            return
        rest = max(seconds - self._loading_of(features.model), 0.3 * seconds)
        self._work.learn(features, job_type, math.log(rest))

    # Predicting

    def _estimate(self, features: Features | None, job_type: str, situation: Situation) -> tuple[Estimate | None, str]:
        """Give an estimate and the evidence that it rests on."""
        found = None if features is None else self._value(features, job_type, situation)
        if found is None:
            usual = self._types.median(job_type)
            if usual is None:
                return None, ""
            found = usual, "type"
        value, evidence = found
        shape = "" if features is None else features.shape
        return self._bands.around(
            max(LEAST_SECONDS, math.exp(value + self._pace.value)), (evidence, situation), shape
        ), evidence

    def _value(self, features: Features, job_type: str, situation: Situation) -> tuple[float, str] | None:
        """Give the logarithm of the seconds; None before anything was learned of any such job."""
        own = (features.fingerprint, situation)
        found = None if situation is Situation.WARM else self._own.median(own)
        if found is not None:
            return found, "often" if self._own.count(own) >= _OFTEN else "own"
        if situation is Situation.THE_SAME:
            return self._of_kind(self._at_once, features.shape, math.log(_AT_ONCE))
        warm = self._warm(features, job_type)
        if warm is None or situation is Situation.WARM:
            return warm
        if situation is Situation.COLD:
            return math.log(math.exp(warm[0]) + self._loading_of(features.model)), warm[1]
        left, evidence = self._of_kind(self._parts, features.shape, math.log(_PART))
        return warm[0] + left, evidence

    @staticmethod
    def _of_kind(values: Recent[str], kind: str, otherwise: float) -> tuple[float, str]:
        known = values.median(kind)
        if known is not None:
            return known, "shape"
        of_any = values.median("")
        return otherwise if of_any is None else of_any, "work"

    def _warm(self, features: Features, job_type: str) -> tuple[float, str] | None:
        """Give the logarithm of the seconds of a job that finds its model in memory and nothing else."""
        modelled = self._work.predict(features, job_type)
        own = (features.fingerprint, Situation.WARM)
        found = self._own.median(own)
        if found is None:
            if modelled is None:
                return None
            return modelled, "shape" if self._work.knows(features) else "work"
        count = self._own.count(own)
        if modelled is None:
            return found, "own"
        weight = 1 - (1 - _OWN_WEIGHT) ** count
        return weight * found + (1 - weight) * modelled, "often" if count >= _OFTEN else "own"

    def _loading_of(self, model: str) -> float:
        return self._of_kind(self._loading, model, _LOADING)[0]
