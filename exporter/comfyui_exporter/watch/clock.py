"""Our clock: it never jumps, and knows what the wall clock says."""

from __future__ import annotations

import time

_STEP = 1.0
"""Seconds by which the wall clock must differ before we believe that it was set; less is noise."""


class Clock:
    """Unix time that only goes forward: a wall clock that is set makes no wait longer or shorter."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()
        self._correction = 0.0

    def now(self) -> float:
        """Give the seconds that observations are stamped with."""
        return time.monotonic() + self._offset

    def stamp(self, unix: float) -> float:
        """Turn Unix time into such a stamp; what the wall clock has not reached yet is now."""
        now = self.now()
        self.wall(now)
        return min(unix - self._correction, now)

    def wall(self, at: float) -> float:
        """Turn a stamp into Unix time as the wall clock has it now."""
        drift = time.time() - self.now()
        if abs(drift - self._correction) > _STEP:
            self._correction = drift
        return at + self._correction
