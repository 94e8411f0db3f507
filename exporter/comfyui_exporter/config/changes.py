"""What a reload cannot change."""

from __future__ import annotations

from collections.abc import Iterator

from comfyui_exporter.config.model import Config

AT_START = (
    "job_labels",
    "buckets",
    "limits",
    "registration_timeout",
    "store",
    "push",
    "webhooks",
    "registered_webhooks",
)
"""Keys that are read at the start alone: changing them would change series, ports or tables that are in use."""


def needing_a_start(before: Config, after: Config) -> Iterator[str]:
    """Give the keys that differ and take effect at the next start only."""
    return (key for key in AT_START if getattr(before, key) != getattr(after, key))
