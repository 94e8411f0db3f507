"""Metrics of the exporter's own process: `process_*` and `python_*`, as every Prometheus client has them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from comfyui_exporter.metrics.exposition import EOF


class ProcessMetrics:
    """CPU, memory, file descriptors, garbage collection and the version of Python.

    In a registry of its own: the global one belongs to the program that uses us as a library.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render(self, openmetrics: bool) -> bytes:
        """Complete families as text, without the end mark of OpenMetrics: a `self_source` of the metric store."""
        if openmetrics:
            openmetrics_text: bytes = generate_openmetrics(self._registry)  # type: ignore[no-untyped-call]
            return openmetrics_text.removesuffix(EOF)
        text: bytes = generate_latest(self._registry)
        return text
