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
    "links",
)
"""Keys that are read at the start alone: changing them would change series, ports or tables that are in use."""


def needing_a_start(before: Config, after: Config) -> Iterator[str]:
    """Give the keys that differ and take effect at the next start only."""
    return (key for key in AT_START if getattr(before, key) != getattr(after, key))


def without_these(before: Config, after: Config) -> Config:
    """Give the configuration to go by until then: what is read at the start alone is as it was."""
    return after.model_copy(update={key: getattr(before, key) for key in AT_START})
