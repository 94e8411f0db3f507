"""Totals of lasting counters as rows, and back."""

from __future__ import annotations

import msgspec

from comfyui_exporter.metrics.totals import Total
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


def total_of(row: Row) -> Total:
    """Give back where a series stood."""
    return Total(
        _labels.decode(row["labels"]), row["value"], _bounds.decode(row["bounds"]), _counts.decode(row["counts"])
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
