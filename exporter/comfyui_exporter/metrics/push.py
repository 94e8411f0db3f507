"""The series of the push service."""

from __future__ import annotations

from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.store import MetricStore


class PushCounts:
    """Counts clients and messages in a metric store; all stand at 0 from the start."""

    def __init__(self, store: MetricStore) -> None:
        self._store = store
        store.set(families.PUSH_CLIENTS, None, (), 0)
        store.touch(families.PUSH_MESSAGES, None)
        store.touch(families.PUSH_DROPPED, None)

    def clients(self, number: int) -> None:
        """So many are connected now."""
        self._store.set(families.PUSH_CLIENTS, None, (), number)

    def sent(self, messages: int) -> None:
        """So many more were handed over to sockets."""
        self._store.inc(families.PUSH_MESSAGES, None, (), messages)

    def dropped(self, messages: int) -> None:
        """So many more will never be."""
        self._store.inc(families.PUSH_DROPPED, None, (), messages)
