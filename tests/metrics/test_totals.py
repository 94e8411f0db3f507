"""Lasting counters go on where they were, whatever has changed in the meantime."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.labels import Limits
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.metrics.totals import Total
from metrics.reading import filled, read

LASTING = tuple(family.name for family in families.ALL if family.lasting)


def watching(*servers: str, **settings: object) -> MetricStore:
    store = MetricStore(**settings)  # type: ignore[arg-type]
    for server in servers:
        store.add_server(server)
    return store


def test_exactly_the_lasting_families_continue_in_a_new_store():
    before = filled(watching("gpu0", "gpu1"))
    after = watching("gpu0", "gpu1")
    after.load_lasting("gpu0", before.export_lasting("gpu0"))
    expected = {
        (name, labels): value
        for (name, labels), value in read(before).items()
        if ("server", "gpu0") in labels and name.startswith(LASTING)
    }
    assert expected
    assert read(after) == expected


@given(st.lists(st.floats(0, 1e6), max_size=20), st.lists(st.floats(0, 1e6), max_size=20))
def test_counting_on_from_totals_is_counting_through(first, second):
    whole, before, after = watching("gpu0"), watching("gpu0"), watching("gpu0")
    for store, values in ((whole, first), (before, first)):
        count(store, values)
    after.load_lasting("gpu0", before.export_lasting("gpu0"))
    for store, values in ((whole, second), (after, second)):
        count(store, values)
    assert read(after) == read(whole)


def count(store: MetricStore, values: list[float]) -> None:
    for value in values:
        store.inc(families.JOBS, "gpu0", ("video", "completed"), value)
        store.observe(families.JOB_DURATION, "gpu0", ("video", "completed"), value)


def test_totals_are_named_and_plain():
    store = watching("gpu0", buckets={"job_queue": [1, 2]})
    store.inc(families.RESTARTS, "gpu0")
    store.observe(families.JOB_QUEUE, "gpu0", ("video",), 1.5)
    store.observe(families.JOB_QUEUE, "gpu0", ("video",), 5)
    assert store.export_lasting("gpu0") == {
        "comfyui_restarts_total": [Total({}, 1)],
        "comfyui_job_queue_seconds": [Total({"job_type": "video"}, 6.5, (1.0, 2.0), (0, 1, 1))],
    }


def test_a_histogram_whose_buckets_were_changed_begins_at_zero():
    before = watching("gpu0", buckets={"job_queue": [1, 2]})
    before.observe(families.JOB_QUEUE, "gpu0", ("video",), 1.5)
    after = watching("gpu0", buckets={"job_queue": [1, 3]})
    after.load_lasting("gpu0", before.export_lasting("gpu0"))
    assert after.get(families.JOB_QUEUE, "gpu0", ("video",)) == 0


def test_a_new_job_label_is_empty_for_what_was_counted_before():
    before = watching("gpu0")
    before.inc(families.JOBS, "gpu0", ("video", "failed"))
    after = watching("gpu0", job_labels=["project"])
    after.load_lasting("gpu0", before.export_lasting("gpu0"))
    assert after.get(families.JOBS, "gpu0", ("video", "failed", "")) == 1


def test_a_job_label_that_is_gone_is_summed_over():
    before = watching("gpu0", job_labels=["project"])
    for project in ("film", "game"):
        before.inc(families.JOBS, "gpu0", ("video", "failed", project))
        before.observe(families.JOB_DURATION, "gpu0", ("video", "failed", project), 4)
    after = watching("gpu0")
    after.load_lasting("gpu0", before.export_lasting("gpu0"))
    assert after.get(families.JOBS, "gpu0", ("video", "failed")) == 2
    assert after.get(families.JOB_DURATION, "gpu0", ("video", "failed")) == 2


def test_label_values_of_totals_keep_their_names_and_take_their_places_when_limits_have_shrunk():
    before = watching("gpu0")
    for job_type in ("a", "b", "c"):
        before.inc(families.JOBS_SUBMITTED, "gpu0", (job_type,))
    after = watching("gpu0", limits=Limits(label_values=2, family_series=2))
    after.load_lasting("gpu0", before.export_lasting("gpu0"))
    for job_type in ("a", "b", "c", "d"):
        after.inc(families.JOBS_SUBMITTED, "gpu0", (job_type,))
    values = [after.get(families.JOBS_SUBMITTED, "gpu0", (job_type,)) for job_type in ("a", "b", "c", "other")]
    assert values == [2, 2, 2, 1]


def test_totals_of_families_and_servers_that_are_no_more_are_left_out():
    store = watching("gpu0")
    store.load_lasting("gpu0", {"comfyui_gone_total": [Total({}, 1)], "comfyui_busy_seconds_total": [Total({}, 1)]})
    store.load_lasting("elsewhere", {"comfyui_restarts_total": [Total({}, 1)]})
    assert read(store) == {}
    assert store.export_lasting("elsewhere") == {}
