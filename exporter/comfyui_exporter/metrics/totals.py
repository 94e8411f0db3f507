"""Lasting counters as they are kept over a restart: by names, so that they outlive a change of labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from comfyui_exporter.metrics.blocks import Block, LabelValues, ScalarBlock


@dataclass(frozen=True, slots=True)
class Total:
    """One series of a lasting family."""

    labels: Mapping[str, str]
    """Without `server`."""
    value: float
    """Of a counter its value, of a histogram its sum."""
    bounds: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets."""
    counts: tuple[int, ...] = ()
    """Observations in each of them, not counted up; the last are those above all bounds."""


Totals = dict[str, list[Total]]
"""Totals of one server by name of the family."""


def of_block(block: Block) -> list[Total]:
    """The totals of all series of a family."""
    return list(by_values(block).values())


def by_values(block: Block) -> dict[LabelValues, Total]:
    """The totals of all series of a family by their label values."""
    if isinstance(block, ScalarBlock):
        return {values: Total(_named(block, values), value) for values, value in block.series.items()}
    return {
        values: Total(_named(block, values), histogram.sum, block.bounds, tuple(histogram.counts))
        for values, histogram in block.series.items()
    }


def label_values(total: Total, labels: tuple[str, ...]) -> LabelValues:
    """The label set of a total under today's labels: one that it lacks is empty, one that is gone is summed over."""
    return tuple(total.labels.get(label, "") for label in labels)


def add_to_block(block: Block, values: LabelValues, total: Total) -> None:
    """Add a total to a series. A histogram with other buckets cannot be continued: the series then stands at 0."""
    if isinstance(block, ScalarBlock):
        block.add(values, total.value)
        return
    histogram = block.stand(values)
    if total.bounds == block.bounds and len(total.counts) == len(histogram.counts):
        histogram.counts = [mine + theirs for mine, theirs in zip(histogram.counts, total.counts, strict=True)]
        histogram.sum += total.value
        block.changed()


def _named(block: Block, values: LabelValues) -> dict[str, str]:
    return dict(zip(block.labels, values, strict=True))
