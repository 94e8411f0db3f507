"""How wrong estimates were lately, and so how wide the band around the next one must be.

Some workflows always take the same time, others never do. So errors are measured by what is usual for jobs of that
shape, and how the errors spread in that measure is learned from all jobs whose estimates had the same evidence.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Mapping

from comfyui_exporter.eta.recent import LEAST_SECONDS
from comfyui_exporter.tracker.estimate import Estimate

_ERRORS_KEPT = 100
_SHAPES_KEPT = 500
_LOW, _HIGH = 0.1, 0.9
"""One of ten jobs ends before the lower end, one of ten after the upper: eight of ten within."""

_WIDEST = 3.0
"""A factor of 20 either way, as a logarithm."""

_NARROWEST = 0.01
"""No job is known to the percent."""

_FADING = 0.9
"""Weight of an error against the next one of its shape."""

_FIRMNESS = 2.0
"""How many errors of its own outweigh what is usual for all shapes."""

Evidence = tuple[str, str]
"""What an estimate rests on, and the situation of the job."""


class _Usual:
    """The usual size of errors; late ones count more."""

    __slots__ = ("total", "weight")

    def __init__(self) -> None:
        self.total = self.weight = 0.0

    def learn(self, error: float) -> None:
        """Take in one error."""
        self.total = _FADING * self.total + abs(error)
        self.weight = _FADING * self.weight + 1


class Bands:
    """Learns the errors of estimates; `beginnings` are how wrong each kind of evidence is until that was seen."""

    def __init__(self, beginnings: Mapping[str, float]) -> None:
        self._beginnings = beginnings
        self._measured: dict[Evidence, deque[float]] = {}
        """Errors as multiples of what was usual."""
        self._edges: dict[Evidence, tuple[float, float]] = {}
        self._usual: dict[Evidence, _Usual] = {}
        self._of_shape: OrderedDict[tuple[Evidence, str], _Usual] = OrderedDict()

    def learn(self, evidence: Evidence, shape: str, error: float) -> None:
        """Take in the logarithm of actual / estimated seconds."""
        error = max(-_WIDEST, min(_WIDEST, error))
        usual = self.usual_error(evidence, shape)
        self._measured.setdefault(evidence, deque(maxlen=_ERRORS_KEPT)).append(error / usual)
        self._edges.pop(evidence, None)
        self._usual.setdefault(evidence, _Usual()).learn(error)
        self._of_shape.setdefault((evidence, shape), _Usual()).learn(error)
        self._of_shape.move_to_end((evidence, shape))
        if len(self._of_shape) > _SHAPES_KEPT:
            self._of_shape.popitem(last=False)

    def around(self, seconds: float, evidence: Evidence, shape: str) -> Estimate:
        """Put the band around an estimate."""
        edges = self._edges.get(evidence)
        if edges is None:
            edges = self._edges[evidence] = _edges_of(self._measured.get(evidence, ()))
        usual = self.usual_error(evidence, shape)
        low = math.exp(max(-_WIDEST, edges[0] * usual))
        high = math.exp(min(_WIDEST, edges[1] * usual))
        return Estimate(max(0.0, seconds * low - LEAST_SECONDS), seconds, seconds * high + LEAST_SECONDS)

    def usual_error(self, evidence: Evidence, shape: str) -> float:
        """Give how far off such estimates usually are, as the logarithm of the ratio."""
        usual = _blended(self._usual.get(evidence), self._beginnings[evidence[0]])
        return max(_NARROWEST, _blended(self._of_shape.get((evidence, shape)), usual))


def _blended(own: _Usual | None, otherwise: float) -> float:
    if own is None:
        return otherwise
    return (own.total + _FIRMNESS * otherwise) / (own.weight + _FIRMNESS)


def _edges_of(measured: deque[float] | tuple[()]) -> tuple[float, float]:
    # A few errors say little of their quantiles, so some that one would expect stand beside them.
    ordered = sorted([*measured, -2.0, -1.0, 0.0, 1.0, 2.0])
    return min(0.0, _quantile(ordered, _LOW)), max(0.0, _quantile(ordered, _HIGH))


def _quantile(ordered: list[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
