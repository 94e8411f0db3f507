"""The series of one family on one server, with the lines they were last rendered to."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from comfyui_exporter.metrics import exposition
from comfyui_exporter.metrics.buckets import Bounds
from comfyui_exporter.metrics.family import Family
from comfyui_exporter.metrics.series import Exemplar, Histogram

LabelValues = tuple[str, ...]


class _Block:
    """The cache: rendered once per format after a change, and once for both where they do not differ."""

    __slots__ = ("_openmetrics", "_text", "family", "labels", "server")

    def __init__(self, family: Family, labels: tuple[str, ...], server: str | None) -> None:
        self.family = family
        self.labels = labels
        self.server = server
        self._text: bytes | None = None
        self._openmetrics: bytes | None = None

    def changed(self) -> None:
        """Forget the lines; the next scrape renders them again."""
        self._text = self._openmetrics = None

    def render(self, openmetrics: bool) -> bytes:
        """The sample lines; empty without series."""
        if openmetrics and self.family.exemplar:
            if self._openmetrics is None:
                self._openmetrics = self._lines(True)
            return self._openmetrics
        if self._text is None:
            self._text = self._lines(False)
        return self._text

    def _lines(self, exemplars: bool) -> bytes:
        raise NotImplementedError


class ScalarBlock(_Block):
    """Counters or gauges."""

    __slots__ = ("exemplars", "series")

    def __init__(self, family: Family, labels: tuple[str, ...], server: str | None) -> None:
        super().__init__(family, labels, server)
        self.series: dict[LabelValues, float] = {}
        self.exemplars: dict[LabelValues, Exemplar] | None = None

    def add(self, values: LabelValues, amount: float, exemplar: Exemplar | None = None) -> None:
        """Raise a counter."""
        value = self.series.get(values)
        if exemplar is not None:
            self.exemplars = self.exemplars or {}
            self.exemplars[values] = exemplar
        elif value is not None and amount == 0:
            return
        self.series[values] = (value or 0.0) + amount
        self.changed()

    def put(self, values: LabelValues, value: float) -> None:
        """Set a gauge."""
        if self.series.get(values) != value:
            self.series[values] = value
            self.changed()

    def stand_at(self, values: LabelValues, value: float, exemplar: Exemplar | None) -> None:
        """Let a counter stand where it was counted to elsewhere."""
        if exemplar is not None:
            self.exemplars = self.exemplars or {}
            self.exemplars[values] = exemplar
        self.series[values] = value
        self.changed()

    def fill(self, series: dict[LabelValues, float]) -> None:
        """Make these the series, all of them."""
        if self.series != series:
            self.series = series
            self.changed()

    def _lines(self, exemplars: bool) -> bytes:
        return exposition.scalars(
            self.family.name, self.labels, self.server, self.series, self.exemplars if exemplars else None
        )


class HistogramBlock(_Block):
    """Histograms."""

    __slots__ = ("bounds", "series")

    def __init__(self, family: Family, labels: tuple[str, ...], server: str | None, bounds: Bounds) -> None:
        super().__init__(family, labels, server)
        self.series: dict[LabelValues, Histogram] = {}
        self.bounds = bounds

    def observe(self, values: LabelValues, value: float, exemplar: Exemplar | None = None) -> None:
        """Count one observation."""
        histogram = self.stand(values)
        index = bisect_left(self.bounds, value)
        histogram.counts[index] += 1
        histogram.sum += value
        if exemplar is not None:
            histogram.exemplars = histogram.exemplars or {}
            histogram.exemplars[index] = exemplar
        self.changed()

    def stand_at(
        self, values: LabelValues, total: float, counts: Sequence[int], exemplars: Mapping[int, Exemplar]
    ) -> None:
        """Let a histogram stand as it was counted elsewhere."""
        histogram = self.stand(values)
        histogram.counts = list(counts)
        histogram.sum = total
        if exemplars:
            histogram.exemplars = {**(histogram.exemplars or {}), **exemplars}
        self.changed()

    def stand(self, values: LabelValues) -> Histogram:
        """The histogram of a label set, made if need be."""
        histogram = self.series.get(values)
        if histogram is None:
            histogram = self.series[values] = Histogram(len(self.bounds))
            self.changed()
        return histogram

    def _lines(self, exemplars: bool) -> bytes:
        return exposition.histograms(
            self.family.name, self.labels, self.server, self.series, self.bounds, exemplars=exemplars
        )


Block = ScalarBlock | HistogramBlock
