"""The metric store as a collector of prometheus_client, for programs with a /metrics of their own."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from comfyui_exporter.metrics.store import MetricStore


class StoreCollector(Collector):
    """Gives every family of the store."""

    def __init__(self, store: MetricStore) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """Give the families as they are now."""
        text = b"".join(self._store.render(True, None, True)).decode()
        yield from text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
