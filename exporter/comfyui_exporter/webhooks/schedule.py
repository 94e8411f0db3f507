"""When a call that failed is tried again."""

from __future__ import annotations

from random import Random

DELAYS = (10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 10_800.0)
"""Seconds after the first, second ... failed try; the last one goes on. Long enough for a deployment of the receiver
after three tries, and for a night without its owner after ten."""

GIVE_UP = 86_400.0
"""Seconds after the change of the job; the last try is made about then."""

LONGEST_REQUESTED = 10_800.0
"""Seconds that a receiver may ask for by Retry-After."""


class Schedule:
    """Waits grow, and vary by a fifth, so that calls that failed together do not come back together."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def next_try(self, attempts: int, created_at: float, at: float, retry_after: float | None = None) -> float | None:
        """Give the time of the next try after so many that failed; None if it is given up. All in Unix seconds.

        `retry_after`, in seconds, makes the wait longer, never shorter.
        """
        last = created_at + GIVE_UP
        if at >= last:
            return None
        delay = DELAYS[min(max(attempts, 1), len(DELAYS)) - 1] * self._rng.uniform(0.8, 1.2)
        if retry_after is not None:
            delay = max(delay, min(retry_after, LONGEST_REQUESTED))
        return min(at + delay, last)
