"""How long runs should take, and how a queue should go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds from start to end: nine of ten such runs took between `low` and `high`."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """A queue as it should go on. Points in time are in the clock of the observations."""

    ends: Mapping[str, float] = field(default_factory=dict)
    """By run_id; absent where there is no estimate for the job or one ahead of it."""
    positions: Mapping[str, int] = field(default_factory=dict)
    """Places of those that wait, by run_id, from 1."""
    drain_seconds: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    """How long each takes from its start to its end, by run_id; absent where nothing is known of it."""
