"""The series of webhooks."""

from __future__ import annotations

from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.store import MetricStore

RESULTS = ("delivered", "failed", "dead", "refused")


class WebhookCounts:
    """Counts what became of calls in a metric store; every result stands at 0 from the start."""

    def __init__(self, store: MetricStore) -> None:
        self._store = store
        for result in RESULTS:
            store.touch(families.WEBHOOKS, None, (result,))

    def delivered(self) -> None:
        """A call was taken."""
        self._count("delivered")

    def failed(self) -> None:
        """A try failed, and there will be another one."""
        self._count("failed")

    def dead(self) -> None:
        """A call was given up."""
        self._count("dead")

    def refused(self) -> None:
        """A call was not made, because it is not allowed (any more)."""
        self._count("refused")

    def _count(self, result: str) -> None:
        self._store.inc(families.WEBHOOKS, None, (result,))
