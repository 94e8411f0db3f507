"""Waiting between tries that fail."""

from __future__ import annotations

from random import Random

LONGEST = 30.0
"""Seconds: a server that is back is noticed within that."""

STABLE = 3
"""Answers in a row after which earlier failures are forgotten; a server that flaps faster keeps its long waits."""


class Backoff:
    """Exponential with full jitter, so that a fleet that lost its network does not come back in one instant."""

    def __init__(self, first: float, rng: Random) -> None:
        self._first = min(first, LONGEST)
        self._rng = rng
        self._failures = 0
        self._answers = 0

    def failed(self) -> float:
        """Give the seconds to wait after one more failure."""
        self._answers = 0
        bound = min(LONGEST, self._first * 2.0 ** min(self._failures, 16))
        self._failures += 1
        # Never at once: nothing is gained by asking again in the same moment.
        return max(self._first / 4, self._rng.uniform(0.0, bound))

    def succeeded(self) -> None:
        """Take note of an answer."""
        self._answers += 1
        if self._answers >= STABLE:
            self._failures = 0

    def reset(self) -> None:
        """Forget earlier failures at once."""
        self._failures = self._answers = 0
