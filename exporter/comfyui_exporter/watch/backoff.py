"""Waiting between tries that fail."""

from __future__ import annotations

from random import Random

LONGEST = 30.0
"""Seconds: a server that is back is noticed within that."""

STABLE = 10.0
"""Seconds of answers after which earlier failures are forgotten; a server that flaps keeps its long waits."""


class Backoff:
    """Exponential with full jitter, so that a fleet that lost its network does not come back in one instant."""

    def __init__(self, first: float, rng: Random) -> None:
        self._first = min(first, LONGEST)
        self._rng = rng
        self._failures = 0
        self._good_since: float | None = None

    def failed(self) -> float:
        """Give the seconds to wait after one more failure."""
        self._good_since = None
        bound = min(LONGEST, self._first * 2.0 ** min(self._failures, 16))
        self._failures += 1
        # Never at once: nothing is gained by asking again in the same moment.
        return max(self._first / 4, self._rng.uniform(0.0, bound))

    def succeeded(self, at: float) -> None:
        """Take note of an answer."""
        if self._good_since is None:
            self._good_since = at
        elif at - self._good_since >= STABLE:
            self._failures = 0
