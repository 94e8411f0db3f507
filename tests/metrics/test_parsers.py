"""What is rendered reads back exactly, whatever the label values are."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.families import ALL
from comfyui_exporter.metrics.family import Kind
from comfyui_exporter.metrics.labels import Limits, clean
from comfyui_exporter.metrics.process import ProcessMetrics
from comfyui_exporter.metrics.series import Exemplar
from comfyui_exporter.metrics.store import MetricStore
from metrics.reading import FORMATS, exemplars_of, families_of, filled, read, text_of

hostile = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=30),
    st.text('\\"\n\r{}=, #%\u2028\u2029\x85\x00', max_size=12),
    st.sampled_from(["\\n", '"} 1\ncomfyui_up 0\n', "\\", '\\"', "# EOF", "\ud800", "a" * 300, "%s%d%%"]),
)
UNLIMITED = Limits(label_values=10**6, family_series=10**6)


@pytest.mark.parametrize("openmetrics", FORMATS)
def test_every_family_is_shown_once_with_its_type_and_help(openmetrics):
    store = MetricStore(job_labels=["project"])
    store.add_server("gpu0")
    store.add_server("gpu1")
    shown = families_of(text_of(filled(store), openmetrics), openmetrics)
    expected = [(family.name.removesuffix("_total"), family.kind.value, family.help) for family in ALL]
    assert [(metric.name, metric.type, metric.documentation) for metric in shown] == expected


@pytest.mark.parametrize("openmetrics", FORMATS)
@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_hostile_label_values_read_back_as_they_were_cleaned(openmetrics, data):
    server = clean(data.draw(hostile)) or "gpu0"
    store = MetricStore(limits=UNLIMITED)
    store.add_server(server)
    gauges = data.draw(st.dictionaries(st.tuples(hostile, hostile, hostile), st.floats(allow_nan=False), max_size=5))
    counters = data.draw(st.lists(st.tuples(st.tuples(hostile, hostile), st.floats(0, 1e300)), max_size=5))
    store.replace(families.JOB_PROGRESS, server, gauges)
    expected = {}
    for labels, value in gauges.items():
        expected["comfyui_job_progress_ratio", named(server, families.JOB_PROGRESS.labels, labels)] = value
    for labels, amount in counters:
        store.inc(families.JOB_FAILURES, server, labels, amount)
        key = "comfyui_job_failures_total", named(server, families.JOB_FAILURES.labels, labels)
        expected[key] = expected.get(key, 0) + amount
    assert read(store, openmetrics) == expected


def named(server: str, names: tuple[str, ...], values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return (("server", server), *zip(names, map(clean, values), strict=True))


# Without quotes: prometheus_client's parser takes an escaped quote in an exemplar for the end of its value. Prometheus
# does not; the exact text of such an exemplar is in test_exposition.
@given(hostile.map(lambda value: value.replace('"', "")), st.floats(0, 1e9), st.floats(0, 4e9))
@settings(deadline=None)
def test_hostile_exemplars_read_back_or_are_left_out(prompt_id, value, timestamp):
    store = MetricStore()
    store.add_server("gpu0")
    store.observe(
        families.JOB_DURATION, "gpu0", ("v", "completed"), value, Exemplar({"prompt_id": prompt_id}, value, timestamp)
    )
    found = list(exemplars_of(store).values())
    if len("prompt_id") + len(clean(prompt_id)) > 128:
        assert found == []
    else:
        assert found == [Exemplar({"prompt_id": clean(prompt_id)}, value, pytest.approx(timestamp, abs=0.0006))]


@given(st.lists(st.floats(0, 1e5), max_size=30), st.lists(st.integers(1, 10**9), min_size=1, max_size=8, unique=True))
@settings(deadline=None)
def test_histograms_read_back_as_prometheus_understands_them(values, bounds):
    bounds = [bound / 1000 for bound in sorted(bounds)]
    store = MetricStore({"job_queue": bounds})
    store.add_server("gpu0")
    for value in values:
        store.observe(families.JOB_QUEUE, "gpu0", ("v",), value)
    for openmetrics in FORMATS:
        series = read(store, openmetrics)
        buckets = {float(dict(labels)["le"]): count for (_, labels), count in series.items() if "le" in dict(labels)}
        assert (
            buckets == {}
            if not values
            else {bound: sum(value <= bound for value in values) for bound in (*bounds, float("inf"))}
        )
        if values:
            labels = (("server", "gpu0"), ("job_type", "v"))
            assert series["comfyui_job_queue_seconds_count", labels] == len(values)
            assert series["comfyui_job_queue_seconds_sum", labels] == pytest.approx(sum(values))


@pytest.mark.parametrize("openmetrics", FORMATS)
def test_the_metrics_of_the_process_join_those_of_the_exporter(openmetrics):
    store = MetricStore(self_sources=[ProcessMetrics().render])
    store.add_server("gpu0")
    text = text_of(filled(store), openmetrics)
    names = {metric.name for metric in families_of(text, openmetrics)}
    assert {"process_cpu_seconds", "process_resident_memory_bytes", "python_info", "comfyui_up"} <= names
    assert text.count("# EOF") == openmetrics
    assert "_created" not in text


def test_the_metrics_of_the_process_are_not_those_of_a_server():
    store = MetricStore(self_sources=[ProcessMetrics().render])
    store.add_server("gpu0")
    assert "process_" not in text_of(filled(store), self_series=False)
    assert "process_" in text_of(store, servers=())


def test_the_formats_differ_in_the_names_of_counters_and_in_exemplars_only():
    store = MetricStore()
    store.add_server("gpu0")
    filled(store)
    text, openmetrics = (set(text_of(store, openmetrics).splitlines()) for openmetrics in FORMATS)
    counters = tuple(family.name.removesuffix("_total") for family in ALL if family.kind is Kind.COUNTER)
    with_exemplar = tuple(family.name for family in ALL if family.exemplar)
    for line in (text ^ openmetrics) - {"# EOF"}:
        assert line.split(" ")[2].startswith(counters) if line.startswith("# ") else line.startswith(with_exemplar)
