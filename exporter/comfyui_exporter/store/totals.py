"""Totals of lasting counters as rows, and back."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.metrics.totals import Total, Totals
from comfyui_exporter.store.batch import Row
from comfyui_exporter.store.keys import key_of

_labels = msgspec.json.Decoder(dict[str, str])
_bounds = msgspec.json.Decoder(tuple[float, ...])
_counts = msgspec.json.Decoder(tuple[int, ...])


def total_row(server: str, family: str, total: Total) -> Row:
    """Give the row of one series."""
    labels = _json(dict(sorted(total.labels.items())))
    return {
        "key": key_of(server, family, labels),
        "server": server,
        "family": family,
        "labels": labels,
        "value": total.value,
        "bounds": _json(total.bounds),
        "counts": _json(total.counts),
    }


def total_of(labels: str, value: float, bounds: str, counts: str) -> Total:
    """Give back where a series stood, from the columns of these names."""
    return Total(_labels.decode(labels), value, _bounds_of(bounds), _counts.decode(counts))


def go_on_as_they_are(stored: Totals, metrics: MetricStore) -> bool:
    """Whether these have the labels and buckets of today, so that what continues them is written over them."""
    for family in families.ALL:
        names, bounds = set(metrics.labels(family)), metrics.bounds(family)
        if any(total.bounds != bounds or total.labels.keys() != names for total in stored.get(family.name, ())):
            return False
    return True


@lru_cache(maxsize=256)
def _bounds_of(text: str) -> tuple[float, ...]:
    """All series of a histogram have the same, which is then there once."""
    return _bounds.decode(text)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
