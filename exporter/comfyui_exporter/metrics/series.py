"""What a sample is made of, beyond a plain number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One observed event that a sample stands for."""

    labels: Mapping[str, str]
    value: float
    timestamp: float
    """Unix time in seconds."""


class Histogram:
    """Observations of one series: how many fell into each bucket (not counted up), and their sum."""

    __slots__ = ("counts", "exemplars", "sum")

    def __init__(self, bounds: int) -> None:
        self.counts = [0] * (bounds + 1)
        self.sum = 0.0
        self.exemplars: dict[int, Exemplar] | None = None
        """The newest by bucket; most histograms never have one."""
