"""All series in memory, and the answer to a scrape.

Each (family, server) keeps its rendered lines until one of its series changes, so that a scrape of many servers joins
bytes and renders only what is new. Not for several threads: one event loop owns a store.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Collection, Mapping, Sequence

from comfyui_exporter.metrics import exposition, families, totals
from comfyui_exporter.metrics.blocks import Block, HistogramBlock, LabelValues, ScalarBlock
from comfyui_exporter.metrics.buckets import Bounds, resolve
from comfyui_exporter.metrics.family import Family, Kind
from comfyui_exporter.metrics.labels import LabelBounds, Limits, check_job_labels, clean
from comfyui_exporter.metrics.series import Exemplar
from comfyui_exporter.metrics.totals import Total, Totals

SelfSource = Callable[[bool], bytes]
"""Further families about the exporter itself: given whether OpenMetrics is asked for, complete families as text."""


class MetricStore:
    """The series of all servers.

    An update for a server that is not there is dropped without a word: what was under way when a server was removed
    must not bring its series back. A family with the label `server` takes a server's name, the others None.

    Raises:
        ValueError: `buckets` or `job_labels` cannot be used.
    """

    def __init__(
        self,
        buckets: Mapping[str, Sequence[float]] | None = None,
        job_labels: Sequence[str] = (),
        limits: Limits | None = None,
        self_sources: Sequence[SelfSource] = (),
    ) -> None:
        self._bounds_by_key = resolve(buckets)
        self._job_labels = tuple(job_labels)
        for family in families.ALL:
            if family.job_labels:
                check_job_labels(self._job_labels, family.labels)
        self._self_sources = tuple(self_sources)
        self._label_bounds = LabelBounds(limits or Limits())
        self._blocks: dict[Family, dict[str | None, Block]] = {family: {} for family in families.ALL}
        self._metadata = {
            openmetrics: {family: exposition.metadata(family, openmetrics) for family in families.ALL}
            for openmetrics in (False, True)
        }
        self._known: set[str] = set()
        self._servers: list[str] = []

    @property
    def servers(self) -> tuple[str, ...]:
        """The servers whose series are kept, sorted by name: the order of a scrape."""
        return tuple(self._servers)

    def has_server(self, name: str) -> bool:
        """Whether series of this server are kept."""
        return name in self._known

    def add_server(self, name: str) -> None:
        """Begin to keep series of a server; nothing happens if that is so already.

        Raises:
            ValueError: the name is unfit for a label value, so that two servers might look the same.
        """
        if not name or clean(name) != name:
            msg = f"{name!r} cannot be the name of a server"
            raise ValueError(msg)
        if name not in self._known:
            self._known.add(name)
            insort(self._servers, name)

    def remove_server(self, name: str) -> None:
        """Drop a server with all its series; nothing happens if it is not there."""
        if name in self._known:
            self._known.remove(name)
            self._servers.remove(name)
        self._label_bounds.forget(name)
        for blocks in self._blocks.values():
            blocks.pop(name, None)

    def labels(self, family: Family) -> tuple[str, ...]:
        """The family's label names besides `server`, in the order in which values are given."""
        return family.labels + self._job_labels if family.job_labels else family.labels

    def bounds(self, family: Family) -> Bounds:
        """Upper bounds of a histogram family's buckets; empty for others."""
        return self._bounds_by_key[family.buckets] if family.buckets else ()

    def exposed(self, family: Family, server: str | None, labels: LabelValues) -> LabelValues:
        """The label values that a series is shown under: cleaned, and folded into `other` where there are too many.

        What is exposed once stays so as long as the server is there. Exposing what is exposed changes nothing.

        Raises:
            ValueError: there are too many or too few values.
        """
        names = self.labels(family)
        if len(labels) != len(names):
            msg = f"{family.name} takes the labels {names}, not {labels}"
            raise ValueError(msg)
        values = tuple(map(clean, labels))
        bounded = self._bounded(family)
        if server is None or not bounded or server not in self._known:
            return values
        values, folded = self._label_bounds.fold(server, family.name, names, bounded, values)
        for label in folded:
            self.inc(families.LABEL_OVERFLOW, server, (label,))
        return values

    def inc(
        self,
        family: Family,
        server: str | None,
        labels: LabelValues = (),
        amount: float = 1.0,
        exemplar: Exemplar | None = None,
    ) -> None:
        """Raise a counter. The exemplar is kept if the family has exemplars.

        Raises:
            ValueError: the amount is negative, infinite or NaN, or the labels do not fit.
        """
        if not 0 <= amount < math.inf:
            msg = f"{family.name} cannot be raised by {amount}"
            raise ValueError(msg)
        block = self._scalars(family, server, Kind.COUNTER)
        if block is not None:
            if labels not in block.series:
                labels = self.exposed(family, server, labels)
            block.add(labels, amount, self._usable(family, exemplar))

    def observe(
        self, family: Family, server: str | None, labels: LabelValues, value: float, exemplar: Exemplar | None = None
    ) -> None:
        """Count an observation in a histogram. The exemplar is kept if the family has exemplars.

        Raises:
            ValueError: the value is negative, infinite or NaN, or the labels do not fit.
        """
        if not 0 <= value < math.inf:
            msg = f"{family.name} cannot observe {value}"
            raise ValueError(msg)
        block = self._histograms(family, server)
        if block is not None:
            if labels not in block.series:
                labels = self.exposed(family, server, labels)
            block.observe(labels, value, self._usable(family, exemplar))

    def touch(self, family: Family, server: str | None, labels: LabelValues = ()) -> None:
        """Let a counter or histogram stand at 0, unless it stands higher already.

        Raises:
            ValueError: the labels do not fit.
        """
        if family.kind is Kind.COUNTER:
            self.inc(family, server, labels, 0.0)
            return
        block = self._histograms(family, server)
        if block is not None and labels not in block.series:
            block.stand(self.exposed(family, server, labels))

    def set(self, family: Family, server: str | None, labels: LabelValues, value: float) -> None:
        """Set one series of a gauge.

        Raises:
            ValueError: the value is NaN (a gauge without a meaning is absent), or the labels do not fit.
        """
        block = self._scalars(family, server, Kind.GAUGE)
        if block is not None:
            block.put(self.exposed(family, server, labels), _gauge_value(family, value))

    def replace(self, family: Family, server: str | None, series: Mapping[LabelValues, float]) -> None:
        """Make these the only series of a gauge on a server.

        Raises:
            ValueError: a value is NaN, or the labels do not fit.
        """
        block = self._scalars(family, server, Kind.GAUGE)
        if block is not None:
            block.fill(
                {self.exposed(family, server, labels): _gauge_value(family, value) for labels, value in series.items()}
            )

    def show(self, family: Family, server: str, value: float | None) -> None:
        """Make this the gauge's only series on a server, without further labels; None: let it have none.

        As `replace`, for what is told again and again of many servers and mostly stays as it is.

        Raises:
            ValueError: the value is NaN, or the family has further labels.
        """
        block = self._blocks[family].get(server)
        if block is None:
            if value is not None:
                self.replace(family, server, {(): value})
        elif block.series.get(()) != value:
            self.replace(family, server, {} if value is None else {(): value})

    def shows(self, family: Family, server: str) -> bool:
        """Whether a family has any series on a server."""
        block = self._blocks[family].get(server)
        return block is not None and bool(block.series)

    def clear(self, family: Family, server: str | None) -> None:
        """Drop the family's series of a server."""
        self._blocks[family].pop(server, None)

    def get(self, family: Family, server: str | None, labels: LabelValues = ()) -> float | None:
        """The value of a counter or gauge, the number of observations of a histogram; None without such a series."""
        block = self._blocks[family].get(server)
        if isinstance(block, HistogramBlock):
            histogram = block.series.get(labels)
            return None if histogram is None else float(sum(histogram.counts))
        return None if block is None else block.series.get(labels)

    def render(
        self, openmetrics: bool, servers: Collection[str] | None = None, self_series: bool = True
    ) -> list[bytes]:
        """The answer to a scrape, in pieces to be joined.

        Args:
            openmetrics: OpenMetrics 1.0.0 rather than the text format 0.0.4.
            servers: Show only series of these; None shows those of all. Names that are not there show nothing.
            self_series: Whether to show the series without a server label.
        """
        asked = self._known if servers is None else set(servers)
        chosen = [name for name in self._servers if name in asked]
        pieces: list[bytes] = []
        for family, blocks in self._blocks.items():
            keys: Sequence[str | None] = chosen if family.per_server else (None,) if self_series else ()
            lines = [text for key in keys if (block := blocks.get(key)) and (text := block.render(openmetrics))]
            if lines:
                pieces.append(self._metadata[openmetrics][family])
                pieces.extend(lines)
        if self_series:
            pieces.extend(source(openmetrics) for source in self._self_sources)
        if openmetrics:
            pieces.append(exposition.EOF)
        return pieces

    def export_lasting(self, server: str) -> Totals:
        """The lasting counters and histograms of a server, as `load_lasting` takes them."""
        exported: Totals = {}
        for family, blocks in self._blocks.items():
            block = blocks.get(server)
            if family.lasting and block is not None:
                exported[family.name] = totals.of_block(block)
        return exported

    def load_lasting(self, server: str, loaded: Totals) -> None:
        """Continue from earlier totals: add them to what is there. Meant to be called once, before anything is counted.

        They keep their label values whatever the limits say now. Families that there are no more are left out.
        """
        for family in families.ALL:
            for total in loaded.get(family.name, ()) if family.lasting else ():
                block = self._block(family, server)
                if block is not None:
                    names = self.labels(family)
                    values = totals.label_values(total, names)
                    self._label_bounds.admit(server, family.name, names, self._bounded(family), values)
                    totals.add_to_block(block, values, total)

    def lasting(self, server: str) -> dict[Family, dict[LabelValues, Total]]:
        """Every lasting series of a server by its label values, as scrapes see it."""
        return {
            family: totals.by_values(block)
            for family, blocks in self._blocks.items()
            if family.lasting and (block := blocks.get(server)) is not None
        }

    def put_lasting(
        self,
        family: Family,
        server: str,
        labels: LabelValues,
        value: float,
        counts: Sequence[int],
        exemplars: Mapping[int, Exemplar],
    ) -> None:
        """Let a lasting series stand as counted elsewhere; `labels` are as `exposed` gave them.

        `value` is a histogram's sum, `counts` its observations by bucket. An exemplar of a counter has the bucket 0.
        """
        block = self._block(family, server)
        usable = {place: use for place, one in exemplars.items() if (use := self._usable(family, one)) is not None}
        if isinstance(block, ScalarBlock):
            block.stand_at(labels, value, usable.get(0))
        elif block is not None:
            block.stand_at(labels, value, counts, usable)

    def _bounded(self, family: Family) -> tuple[str, ...]:
        return family.bounded + self._job_labels if family.job_labels else family.bounded

    @staticmethod
    def _usable(family: Family, exemplar: Exemplar | None) -> Exemplar | None:
        if exemplar is None or not family.exemplar:
            return None
        labels = {name: clean(value) for name, value in exemplar.labels.items()}
        return Exemplar(labels, exemplar.value, exemplar.timestamp)

    def _scalars(self, family: Family, server: str | None, kind: Kind) -> ScalarBlock | None:
        block = self._blocks[family].get(server) or self._block(family, server)
        if family.kind is not kind or isinstance(block, HistogramBlock):
            msg = f"{family.name} is a {family.kind}, not a {kind}"
            raise TypeError(msg)
        return block

    def _histograms(self, family: Family, server: str | None) -> HistogramBlock | None:
        block = self._blocks[family].get(server) or self._block(family, server)
        if isinstance(block, ScalarBlock):
            msg = f"{family.name} is a {family.kind}, not a histogram"
            raise TypeError(msg)
        return block

    def _block(self, family: Family, server: str | None) -> Block | None:
        """The block of a family on a server, made if need be; None if there is no such server."""
        if family.per_server is (server is None):
            msg = f"{family.name} {'needs a' if family.per_server else 'has no'} server"
            raise ValueError(msg)
        blocks = self._blocks[family]
        if server in blocks or (server is not None and server not in self._known):
            return blocks.get(server)
        names = self.labels(family)
        bounds = self.bounds(family)
        blocks[server] = HistogramBlock(family, names, server, bounds) if bounds else ScalarBlock(family, names, server)
        return blocks[server]


def _gauge_value(family: Family, value: float) -> float:
    number = float(value)
    if math.isnan(number):
        msg = f"{family.name} cannot be NaN"
        raise ValueError(msg)
    return number
