"""How many requests may come: a bucket that fills with time."""

from __future__ import annotations

from collections.abc import Callable

from comfyui_exporter.config.protection import RateLimit


class Bucket:
    """Begins full. The limit may be another one each time."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._limit: RateLimit | None = None
        self._left = 0.0
        self._filled = 0.0

    def take(self, limit: RateLimit) -> bool:
        """Take one request, if there is one."""
        now = self._now()
        if limit != self._limit:
            self._limit, self._left = limit, float(limit.burst)
        else:
            self._left = min(float(limit.burst), self._left + (now - self._filled) / limit.interval)
        self._filled = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
