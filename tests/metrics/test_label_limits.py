"""Whatever a server brings, the number of its series is bounded, and nothing is lost from the sums."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.labels import VALUE_LENGTH, Limits, clean
from comfyui_exporter.metrics.store import MetricStore
from metrics.reading import read


def store_with(**limits: int) -> MetricStore:
    store = MetricStore(limits=Limits(**limits), job_labels=["project"])
    store.add_server("gpu0")
    return store


def overflow(store: MetricStore, label: str, server: str = "gpu0") -> float | None:
    return store.get(families.LABEL_OVERFLOW, server, (label,))


def test_values_past_the_limit_become_other_and_are_counted():
    store = store_with(label_values=2)
    for job_type in ("a", "b", "c", "d", "a", "c"):
        store.inc(families.JOBS_SUBMITTED, "gpu0", (job_type,))
    assert {key[1][-1][1]: value for key, value in read(store).items() if "submitted" in key[0]} == {
        "a": 2,
        "b": 1,
        "other": 3,
    }
    assert overflow(store, "job_type") == 3


def test_a_label_has_the_same_values_in_all_families():
    store = store_with(label_values=1)
    store.inc(families.JOBS_SUBMITTED, "gpu0", ("a",))
    store.observe(families.JOB_QUEUE, "gpu0", ("b",), 1)
    store.observe(families.JOB_QUEUE, "gpu0", ("a",), 1)
    assert store.get(families.JOB_QUEUE, "gpu0", ("other",)) == 1
    assert store.get(families.JOB_QUEUE, "gpu0", ("a",)) == 1


def test_servers_and_labels_do_not_take_each_others_places():
    store = store_with(label_values=1)
    store.add_server("gpu1")
    store.inc(families.JOBS_SUBMITTED, "gpu0", ("a",))
    store.inc(families.JOBS_SUBMITTED, "gpu1", ("b",))
    store.observe(families.NODE_DURATION, "gpu0", ("c",), 1)
    assert store.get(families.JOBS_SUBMITTED, "gpu1", ("b",)) == 1
    assert store.get(families.NODE_DURATION, "gpu0", ("c",)) == 1
    assert overflow(store, "job_type") is None


def test_empty_and_other_take_no_place():
    store = store_with(label_values=1)
    for job_type in ("", "other", "a"):
        store.inc(families.JOBS_SUBMITTED, "gpu0", (job_type,))
    assert store.get(families.JOBS_SUBMITTED, "gpu0", ("a",)) == 1
    assert overflow(store, "job_type") is None


def test_our_own_enumerations_are_never_folded():
    store = store_with(label_values=0, family_series=0)
    for status in ("completed", "failed", "lost"):
        store.inc(families.JOBS, "gpu0", ("video", status, "film"))
        assert store.get(families.JOBS, "gpu0", ("other", status, "other")) == 1
    store.inc(families.REQUESTS, "gpu0", ("/queue", "ok"))
    assert store.get(families.REQUESTS, "gpu0", ("/queue", "ok")) == 1
    assert (overflow(store, "job_type"), overflow(store, "project")) == (3, 3)
    assert overflow(store, "status") is None


def test_label_sets_past_the_limit_become_other_in_all_bounded_labels():
    store = store_with(family_series=2)
    details = families.JOB_FAILURE_DETAILS
    store.inc(details, "gpu0", ("dtype", "KSampler", "RuntimeError"))
    store.inc(details, "gpu0", ("dtype", "VAEDecode", "RuntimeError"))
    store.inc(details, "gpu0", ("cuda_oom", "KSampler", "RuntimeError"))
    store.inc(details, "gpu0", ("dtype", "KSampler", "RuntimeError"))
    assert store.get(details, "gpu0", ("dtype", "KSampler", "RuntimeError")) == 2
    assert store.get(details, "gpu0", ("cuda_oom", "other", "other")) == 1
    assert store.get(details, "gpu0", ("cuda_oom", "KSampler", "RuntimeError")) is None
    assert (overflow(store, "node_type"), overflow(store, "exception_type")) == (1, 1)


def test_the_versions_of_a_server_that_invents_them_are_bounded():
    store = store_with(label_values=2)
    for version in range(9):
        store.replace(families.INFO, "gpu0", {(f"0.{version}", "3.12", "2.8", "posix"): 1})
    assert store.get(families.INFO, "gpu0", ("other", "3.12", "2.8", "posix")) == 1


def test_prompt_ids_of_gauges_are_not_folded():
    store = store_with(label_values=1, family_series=1)
    jobs = {(f"p{index}", "", "video"): 0.5 for index in range(20)}
    store.replace(families.JOB_PROGRESS, "gpu0", jobs)
    assert len(read(store)) == 20


def test_a_removed_server_begins_anew():
    store = store_with(label_values=1)
    store.inc(families.JOBS_SUBMITTED, "gpu0", ("a",))
    store.remove_server("gpu0")
    store.add_server("gpu0")
    store.inc(families.JOBS_SUBMITTED, "gpu0", ("b",))
    assert store.get(families.JOBS_SUBMITTED, "gpu0", ("b",)) == 1


names = st.sampled_from(["", "other", "a", "b", "c", "d", "e"])


@given(st.lists(st.tuples(names, st.sampled_from(["completed", "failed"]), names), max_size=40), st.data())
def test_folding_loses_nothing_and_keeps_to_the_limits(updates, data):
    limits = Limits(data.draw(st.integers(0, 4)), data.draw(st.integers(0, 6)))
    store = MetricStore(limits=limits, job_labels=["project"])
    store.add_server("gpu0")
    for labels in updates:
        exposed = store.exposed(families.JOBS, "gpu0", labels)
        assert store.exposed(families.JOBS, "gpu0", exposed) == exposed
        assert store.exposed(families.JOBS, "gpu0", labels) == exposed
        store.inc(families.JOBS, "gpu0", labels)
    series = {tuple(key[1]): value for key, value in read(store).items() if key[0] == "comfyui_jobs_total"}
    for status in ("completed", "failed"):
        counted = sum(value for labels, value in series.items() if ("status", status) in labels)
        assert counted == sum(labels[1] == status for labels in updates)
    job_types = {dict(labels)["job_type"] for labels in series} - {"", "other"}
    assert len(job_types) <= limits.label_values
    all_other = [labels for labels in series if dict(labels)["job_type"] == dict(labels)["project"] == "other"]
    assert len(series) - len(all_other) <= limits.family_series


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        ("KSampler", "KSampler"),
        ("Ünïcode 節点", "Ünïcode 節点"),
        ("a\r\n\tb", "a b"),
        ("a\x00\x7f\x9fb", "a b"),
        ("a\ud800b", "a\N{REPLACEMENT CHARACTER}b"),
        ("x" * 500, "x" * VALUE_LENGTH),
    ],
)
def test_label_values_are_made_harmless(value, cleaned):
    assert clean(value) == cleaned


@given(st.text(st.characters(exclude_categories=()), max_size=300))
def test_cleaning_twice_is_cleaning_once(value):
    assert clean(clean(value)) == clean(value)
    clean(value).encode()


def test_what_is_the_same_when_cleaned_is_one_series():
    store = store_with()
    store.inc(families.JOBS_SUBMITTED, "gpu0", ("a\nb",))
    store.inc(families.JOBS_SUBMITTED, "gpu0", ("a b",))
    assert store.get(families.JOBS_SUBMITTED, "gpu0", ("a b",)) == 2
