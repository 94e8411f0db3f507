"""Stores, and what Prometheus would read of them."""

from __future__ import annotations

import pytest

from comfyui_exporter.metrics.store import MetricStore


@pytest.fixture
def store() -> MetricStore:
    """A store that watches `gpu0`."""
    store = MetricStore()
    store.add_server("gpu0")
    return store
