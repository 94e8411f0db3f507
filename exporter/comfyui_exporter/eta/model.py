"""A learned model of how long a job takes by how much work its graph asks for.

The logarithm of the seconds is linear in the logarithms of steps, pixels, frames and batch: twice the steps, about
twice the time. Jobs of one shape and model are fitted on their own, but drawn to what holds for the model in other
graphs, that to the job type, and that to all jobs of the server. So the first job of a new workflow is guessed by the
others, and after a few of its own they alone count.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

from comfyui_exporter.tracker.observations import Features

_GROUPS_KEPT = 500
"""1 kB each."""

_USUAL = ((20.0, 0.8), (1e6, 0.8), (16.0, 0.8), (1.0, 0.8))
"""Steps, pixels, frames and batch of a usual job, and the power of each that the time grows with until known better."""

_DIMENSIONS = 1 + len(_USUAL)
_BEGINNING = (math.log(10.0), *(power for _, power in _USUAL))
"""Ten seconds for a usual job, until the first one ended."""

_FIRMNESS = (0.15, *(1.0 for _ in _USUAL))
"""How many jobs of its own outweigh what a group is drawn to: few for how long such jobs take, more for the powers."""

_FADING = 0.95
"""Weight of a job against that of the next one of its group."""

_SURPRISE = 0.7
"""A logarithm of a ratio of two: beyond it a job counts the less the stranger it is."""

_SETTLED = 3
"""From so many jobs on a group is not solved again just because that what it is drawn to moved."""

_MOST_LOG = 17.0
"""Nothing takes longer than nine months."""

_MOST = 10_000.0
"""Times what is usual: with more than that of anything no job ever ended."""

Vector = Sequence[float]


class _Group:
    """Sums over the jobs of one group, from which its weights follow."""

    __slots__ = ("_drawn_to", "_products", "_targets", "_weights", "count")

    def __init__(self) -> None:
        self.count = 0
        self._products = [[0.0] * _DIMENSIONS for _ in range(_DIMENSIONS)]
        self._targets = [0.0] * _DIMENSIONS
        self._weights: Vector | None = None
        self._drawn_to: Vector | None = None

    def learn(self, work: Vector, value: float, importance: float) -> None:
        """Take in one job."""
        self.count += 1
        for row, (left, products) in enumerate(zip(work, self._products, strict=True)):
            share = importance * left
            for column, right in enumerate(work):
                products[column] = _FADING * products[column] + share * right
            self._targets[row] = _FADING * self._targets[row] + share * value
        self._weights = None

    def weights(self, drawn_to: Vector) -> Vector:
        """Solve for the weights, drawn to those of the wider group."""
        if self._weights is None or (self.count < _SETTLED and self._drawn_to is not drawn_to):
            rows = [
                [*(product + (firmness if row == column else 0.0) for column, product in enumerate(products)), target]
                for row, (products, target, firmness) in enumerate(
                    zip(
                        self._products,
                        (
                            target + firmness * weight
                            for target, firmness, weight in zip(self._targets, _FIRMNESS, drawn_to, strict=True)
                        ),
                        _FIRMNESS,
                        strict=True,
                    )
                )
            ]
            self._weights, self._drawn_to = _solved(rows), drawn_to
        return self._weights


class WorkModel:
    """Learns from completed jobs, and predicts the logarithm of the seconds of others."""

    def __init__(self) -> None:
        self._groups: OrderedDict[tuple[str, ...], _Group] = OrderedDict()

    def learn(self, features: Features, job_type: str, value: float) -> None:
        """Take in the logarithm of the seconds that a job took."""
        work = _work(features)
        groups = _groups(features, job_type)
        expected = self.predict(features, job_type)
        surprise = 0.0 if expected is None else abs(value - expected)
        importance = 1.0 if surprise <= _SURPRISE else _SURPRISE / surprise
        for name in groups:
            group = self._groups.get(name)
            if group is None:
                group = self._groups[name] = _Group()
            self._groups.move_to_end(name)
            # What is strange to its own group is news; what is strange to a new group may just be new.
            group.learn(work, value, importance if group.count >= _SETTLED else 1.0)
        while len(self._groups) > _GROUPS_KEPT:
            self._groups.popitem(last=False)

    def knows(self, features: Features) -> bool:
        """Whether a job of this shape and model was learned from."""
        return ("shape", features.shape, features.model) in self._groups

    def predict(self, features: Features, job_type: str) -> float | None:
        """Give the logarithm of the seconds of a job that has to do everything; None before anything was learned."""
        if not self._groups:
            return None
        weights: Vector = _BEGINNING
        for name in _groups(features, job_type):
            group = self._groups.get(name)
            if group is not None:
                weights = group.weights(weights)
        value = math.fsum(weight * amount for weight, amount in zip(weights, _work(features), strict=True))
        return max(-_MOST_LOG, min(_MOST_LOG, value))


def _groups(features: Features, job_type: str) -> tuple[tuple[str, ...], ...]:
    """Name the groups that a job is in, from the widest to its own."""
    named = (("all",), ("type", job_type), ("model", features.model), ("shape", features.shape, features.model))
    return named if features.model else (named[0], named[1], named[3])


def _work(features: Features) -> Vector:
    amounts = (features.steps, features.pixels, features.frames, features.batch)
    return (
        1.0,
        *(
            math.log(min(_MOST, max(1 / _MOST, amount / usual))) if amount > 0 else 0.0
            for amount, (usual, _) in zip(amounts, _USUAL, strict=True)
        ),
    )


def _solved(rows: list[list[float]]) -> Vector:
    """Solve a small system of equations, each row ending with its right side, by elimination.

    It is symmetric and positive, so no pivot is ever near 0.
    """
    size = len(rows)
    for pivot in range(size):
        top = rows[pivot]
        for row in rows[pivot + 1 :]:
            factor = row[pivot] / top[pivot]
            if factor:
                for column in range(pivot, size + 1):
                    row[column] -= factor * top[column]
    solution = [0.0] * size
    for place in reversed(range(size)):
        row = rows[place]
        known = math.fsum(row[column] * solution[column] for column in range(place + 1, size))
        solution[place] = (row[size] - known) / row[place]
    return tuple(solution)
