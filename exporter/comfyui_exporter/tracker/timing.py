"""How long the tracker waits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the tracker waits for things; seconds."""

    job_grace: float = 30.0
    keep_finished: float = 900.0
    max_finished: int = 10_000
    job_timeout: float | None = None
    stall_timeout: float = 600.0
