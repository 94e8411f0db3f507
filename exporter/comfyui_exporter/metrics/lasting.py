"""Lasting counters and histograms on their way to a scrape: counted at once, shown only when they are kept for good."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from comfyui_exporter.metrics.family import Family, Kind
from comfyui_exporter.metrics.increments import Increment
from comfyui_exporter.metrics.series import Exemplar
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.metrics.totals import Total, Totals

LabelValues = tuple[str, ...]
Series = tuple[str, Family, LabelValues]
"""Server, family and exposed label values."""


@dataclass(frozen=True, slots=True)
class Count:
    """Where one series stands; whole, not what was added, so that to write or show it twice changes nothing."""

    value: float
    """Of a counter its value, of a histogram its sum."""
    counts: tuple[int, ...] = ()
    """Observations in each bucket of a histogram, not counted up."""
    exemplars: tuple[tuple[int, Exemplar], ...] = ()
    """The newest by bucket; a counter's under 0."""


class Lasting:
    """Counts ahead of what scrapes are shown.

    `deferred`: what is counted is shown when `show` is called with what `take` gave, after it was written down. Without
    it there is nothing to wait for, and everything is shown at once.
    """

    def __init__(self, store: MetricStore, *, deferred: bool) -> None:
        self._store = store
        self._deferred = deferred
        self._ahead: defaultdict[str, dict[Series, _Ahead]] = defaultdict(dict)
        self._touched: defaultdict[str, dict[Series, None]] = defaultdict(dict)
        """Both by server: that one of many is added or goes costs nothing to the others."""

    def load(self, server: str, totals: Totals) -> None:
        """Continue from what was written down; once for each server, before anything of it is counted."""
        self._store.load_lasting(server, totals)
        if not self._deferred:
            return
        of_server = self._ahead[server]
        for family, series in self._store.lasting(server).items():
            for labels, total in series.items():
                of_server[server, family, labels] = _Ahead(total.value, list(total.counts))

    def forget(self, server: str) -> None:
        """A server is not watched any more."""
        self._ahead.pop(server, None)
        self._touched.pop(server, None)

    def add(self, server: str, increment: Increment) -> None:
        """Count.

        Raises:
            ValueError: the amount is negative, infinite or NaN, or the labels do not fit.
        """
        if not self._deferred:
            self._show_at_once(server, increment)
            return
        if not self._store.has_server(server):
            return
        family = increment.family
        series = (server, family, increment.labels)
        of_server = self._ahead[server]
        if series not in of_server:
            series = (server, family, self._store.exposed(family, server, increment.labels))
        ahead = of_server.get(series)
        if ahead is not None and increment.amount == 0 and family.kind is Kind.COUNTER:
            return
        bounds = self._store.bounds(family)
        if ahead is None:
            ahead = of_server[series] = _Ahead(0.0, [0] * (len(bounds) + 1) if bounds else [])
        ahead.add(increment, bounds)
        self._touched[server][series] = None

    def take(self, server: str | None = None) -> dict[Series, Count]:
        """Give the series that changed since the last call, as they stand now; of one server, or of all."""
        taken: dict[Series, Count] = {}
        for name in tuple(self._touched) if server is None else (server,):
            taken |= {series: self._ahead[name][series].count() for series in self._touched.pop(name, ())}
        return taken

    def total(self, series: Series, count: Count) -> Total:
        """Put a series into the form in which it is kept."""
        _, family, labels = series
        names = self._store.labels(family)
        return Total(dict(zip(names, labels, strict=True)), count.value, self._store.bounds(family), count.counts)

    def show(self, counts: Iterable[tuple[Series, Count]]) -> None:
        """Let scrapes see these series as they were taken."""
        for (server, family, labels), count in counts:
            self._store.put_lasting(family, server, labels, count.value, count.counts, dict(count.exemplars))

    def _show_at_once(self, server: str, increment: Increment) -> None:
        family, labels = increment.family, increment.labels
        if family.kind is Kind.HISTOGRAM:
            self._store.observe(family, server, labels, increment.amount, increment.exemplar)
        elif increment.amount == 0:
            self._store.touch(family, server, labels)
        else:
            self._store.inc(family, server, labels, increment.amount, increment.exemplar)


@dataclass(slots=True)
class _Ahead:
    value: float
    counts: list[int]
    exemplars: dict[int, Exemplar] | None = None

    def add(self, increment: Increment, bounds: tuple[float, ...]) -> None:
        amount = increment.amount
        if not 0 <= amount < float("inf"):
            msg = f"{increment.family.name} cannot be raised by {amount}"
            raise ValueError(msg)
        bucket = 0
        if self.counts:
            bucket = bisect_left(bounds, amount)
            self.counts[bucket] += 1
        self.value += amount
        if increment.exemplar is not None and increment.family.exemplar:
            self.exemplars = self.exemplars or {}
            self.exemplars[bucket] = increment.exemplar

    def count(self) -> Count:
        exemplars = tuple(self.exemplars.items()) if self.exemplars else ()
        return Count(self.value, tuple(self.counts), exemplars)
