"""How much a client may say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one client may send. A frame is one message, a fragment or a ping too."""

    per_second: float = 10.0
    burst: float = 50.0
    patience: float = 100.0
    """Frames too many after which it is closed. Each one too many counts, so slowing down in time is enough."""
    questions: int = 8
    """That may wait for their answer."""


CLIENT = Limits()
RELAY = Limits(per_second=500.0, burst=1000.0, questions=64)
"""A relay asks for all of its clients, and each of those has its own limits there."""


class Verdict(Enum):
    """What becomes of a frame."""

    TAKEN = 0
    REFUSED = 1
    ABUSE = 2


class Allowance:
    """A token bucket that goes below zero for what is refused."""

    __slots__ = ("_at", "_limits", "_tokens")

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._tokens = limits.burst
        self._at = now

    def spend(self, now: float) -> Verdict:
        """Judge one more frame."""
        limits = self._limits
        self._tokens = min(limits.burst, self._tokens + (now - self._at) * limits.per_second)
        self._at = now
        enough = self._tokens >= 1.0
        self._tokens -= 1.0
        if enough:
            return Verdict.TAKEN
        return Verdict.ABUSE if self._tokens < -limits.patience else Verdict.REFUSED
