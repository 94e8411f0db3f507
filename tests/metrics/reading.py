"""What Prometheus would read of a store: judged by prometheus_client's parsers, not by our own."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.samples import Sample

from comfyui_exporter.metrics.families import ALL
from comfyui_exporter.metrics.family import Family, Kind
from comfyui_exporter.metrics.series import Exemplar
from comfyui_exporter.metrics.store import MetricStore

FORMATS = (False, True)
"""The text format, OpenMetrics."""

Series = tuple[str, tuple[tuple[str, str], ...]]


def text_of(
    store: MetricStore, openmetrics: bool = False, servers: Collection[str] | None = None, self_series: bool = True
) -> str:
    """The answer to a scrape."""
    return b"".join(store.render(openmetrics, servers, self_series)).decode()


def families_of(text: str, openmetrics: bool) -> list[Metric]:
    """The families in an exposition."""
    return list((parse_openmetrics if openmetrics else parse_text)(text))


def samples_of(text: str, openmetrics: bool) -> Iterator[Sample]:
    """The samples in an exposition, in order."""
    for family in families_of(text, openmetrics):
        yield from family.samples


def read(store: MetricStore, openmetrics: bool = False) -> dict[Series, float]:
    """Every series that a scrape shows, and its value."""
    samples = list(samples_of(text_of(store, openmetrics), openmetrics))
    series = {(sample.name, tuple(sample.labels.items())): sample.value for sample in samples}
    assert len(series) == len(samples), "a series is shown twice"
    return series


def exemplars_of(store: MetricStore) -> dict[Series, Exemplar]:
    """The exemplars that an OpenMetrics scrape shows, by series."""
    return {
        (sample.name, tuple(sample.labels.items())): Exemplar(
            sample.exemplar.labels, sample.exemplar.value, float(sample.exemplar.timestamp)
        )
        for sample in samples_of(text_of(store, openmetrics=True), openmetrics=True)
        if sample.exemplar
    }


def fill(store: MetricStore, family: Family, server: str | None, values: tuple[str, ...]) -> None:
    """Give a family one series."""
    exemplar = Exemplar({"prompt_id": "p-1"}, 1.5, 1_700_000_000.25)
    if family.kind is Kind.COUNTER:
        store.inc(family, server, values, exemplar=exemplar)
    elif family.kind is Kind.GAUGE:
        store.set(family, server, values, 1)
    else:
        store.observe(family, server, values, 1.5, exemplar)


def filled(store: MetricStore) -> MetricStore:
    """The store with a series of every family, on every server."""
    for family in ALL:
        for server in store.servers if family.per_server else (None,):
            fill(store, family, server, tuple(f"a {label}" for label in store.labels(family)))
    return store
