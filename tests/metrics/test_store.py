"""Counters, gauges and histograms of servers that come and go."""

from __future__ import annotations

import math

import pytest

from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.families import ALL
from comfyui_exporter.metrics.series import Exemplar
from comfyui_exporter.metrics.store import MetricStore
from metrics.reading import FORMATS, exemplars_of, fill, filled, read, text_of

VIDEO = ("video", "completed")


@pytest.mark.parametrize("openmetrics", FORMATS)
def test_a_counter_adds_up(store, openmetrics):
    store.inc(families.JOBS, "gpu0", VIDEO)
    store.inc(families.JOBS, "gpu0", VIDEO, 2.5)
    assert read(store, openmetrics) == {
        ("comfyui_jobs_total", (("server", "gpu0"), ("job_type", "video"), ("status", "completed"))): 3.5
    }


def test_a_touched_counter_stands_at_zero_and_is_not_set_back_by_it(store):
    store.touch(families.JOBS, "gpu0", VIDEO)
    assert store.get(families.JOBS, "gpu0", VIDEO) == 0
    store.inc(families.JOBS, "gpu0", VIDEO)
    store.touch(families.JOBS, "gpu0", VIDEO)
    assert store.get(families.JOBS, "gpu0", VIDEO) == 1


@pytest.mark.parametrize("amount", [-1, -math.inf, math.inf, math.nan])
def test_a_counter_never_falls_and_stays_a_number(store, amount):
    store.inc(families.JOBS, "gpu0", VIDEO)
    with pytest.raises(ValueError, match="comfyui_jobs_total cannot be raised by"):
        store.inc(families.JOBS, "gpu0", VIDEO, amount)
    assert store.get(families.JOBS, "gpu0", VIDEO) == 1


def test_an_observation_falls_into_the_bucket_whose_bound_it_does_not_exceed():
    store = MetricStore({"job_queue": [1, 10]})
    store.add_server("gpu0")
    for value in (0.5, 1, 1.5, 100):
        store.observe(families.JOB_QUEUE, "gpu0", ("video",), value)
    labels = (("server", "gpu0"), ("job_type", "video"))
    assert read(store) == {
        ("comfyui_job_queue_seconds_bucket", (*labels, ("le", "1.0"))): 2,
        ("comfyui_job_queue_seconds_bucket", (*labels, ("le", "10.0"))): 3,
        ("comfyui_job_queue_seconds_bucket", (*labels, ("le", "+Inf"))): 4,
        ("comfyui_job_queue_seconds_sum", labels): 103,
        ("comfyui_job_queue_seconds_count", labels): 4,
    }


def test_a_touched_histogram_stands_at_zero_and_is_not_set_back_by_it(store):
    store.touch(families.JOB_QUEUE, "gpu0", ("video",))
    assert store.get(families.JOB_QUEUE, "gpu0", ("video",)) == 0
    store.observe(families.JOB_QUEUE, "gpu0", ("video",), 1)
    store.touch(families.JOB_QUEUE, "gpu0", ("video",))
    assert store.get(families.JOB_QUEUE, "gpu0", ("video",)) == 1


@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan])
def test_a_histogram_takes_no_value_that_would_spoil_its_sum(store, value):
    with pytest.raises(ValueError, match="comfyui_job_queue_seconds cannot observe"):
        store.observe(families.JOB_QUEUE, "gpu0", ("video",), value)
    assert read(store) == {}


def test_a_gauge_is_what_it_was_last_set_to(store):
    store.set(families.UP, "gpu0", (), 1)
    store.set(families.UP, "gpu0", (), 0)
    assert read(store) == {("comfyui_up", (("server", "gpu0"),)): 0}


def test_replacing_a_gauge_drops_the_series_that_are_not_given(store):
    store.set(families.QUEUE_JOBS, "gpu0", ("running",), 1)
    store.replace(families.QUEUE_JOBS, "gpu0", {("pending",): 3})
    assert read(store) == {("comfyui_queue_jobs", (("server", "gpu0"), ("state", "pending"))): 3}
    store.replace(families.QUEUE_JOBS, "gpu0", {})
    assert text_of(store) == ""


def test_a_gauge_without_a_meaning_is_absent_and_never_nan(store):
    with pytest.raises(ValueError, match="comfyui_up cannot be NaN"):
        store.set(families.UP, "gpu0", (), math.nan)
    with pytest.raises(ValueError, match="comfyui_queue_jobs cannot be NaN"):
        store.replace(families.QUEUE_JOBS, "gpu0", {("running",): 1, ("pending",): math.nan})
    assert text_of(store) == ""


def test_a_cleared_family_is_absent_without_a_trace_of_metadata(store):
    store.set(families.UP, "gpu0", (), 1)
    store.clear(families.UP, "gpu0")
    assert text_of(store) == ""
    assert text_of(store, openmetrics=True) == "# EOF\n"


def test_what_is_not_there_is_none(store):
    assert store.get(families.JOBS, "gpu0", VIDEO) is None
    assert store.get(families.JOB_QUEUE, "gpu0", ("video",)) is None
    store.touch(families.JOB_QUEUE, "gpu0", ("video",))
    assert store.get(families.JOB_QUEUE, "gpu0", ("image",)) is None


def test_a_removed_server_is_gone_from_the_next_scrape_on(store):
    store.add_server("gpu1")
    filled(store).remove_server("gpu0")
    assert store.servers == ("gpu1",)
    assert 'server="gpu0"' not in text_of(store)
    assert 'server="gpu1"' in text_of(store)


def test_what_was_under_way_when_a_server_was_removed_does_not_bring_it_back(store):
    store.remove_server("gpu0")
    store.inc(families.JOBS, "gpu0", VIDEO)
    store.touch(families.JOB_QUEUE, "gpu0", ("video",))
    store.observe(families.JOB_QUEUE, "gpu0", ("video",), 1)
    store.set(families.UP, "gpu0", (), 1)
    store.replace(families.UP, "gpu0", {(): 1})
    assert text_of(store) == ""
    store.add_server("gpu0")
    assert text_of(store) == ""


def test_adding_a_server_twice_keeps_its_series(store):
    store.inc(families.JOBS, "gpu0", VIDEO)
    store.add_server("gpu0")
    assert store.servers == ("gpu0",)
    assert store.get(families.JOBS, "gpu0", VIDEO) == 1


@pytest.mark.parametrize("name", ["", "a\nb", "a\ud800", "x" * 201])
def test_a_name_that_would_not_survive_as_a_label_value_is_refused(store, name):
    with pytest.raises(ValueError, match="cannot be the name of a server"):
        store.add_server(name)


def test_servers_are_in_the_order_of_their_names_whenever_they_came(store):
    store.add_server("b")
    store.add_server("a")
    assert store.servers == ("a", "b", "gpu0")
    for server in ("gpu0", "a", "b"):
        store.set(families.UP, server, (), 1)
    assert text_of(store) == (
        "# HELP comfyui_up Whether ComfyUI answers; 0 after three tries in a row without an answer.\n"
        "# TYPE comfyui_up gauge\n"
        'comfyui_up{server="a"} 1\ncomfyui_up{server="b"} 1\ncomfyui_up{server="gpu0"} 1\n'
    )


@pytest.mark.parametrize("openmetrics", FORMATS)
def test_a_scrape_may_ask_for_some_servers_without_the_series_of_the_exporter(store, openmetrics):
    store.add_server("gpu1")
    text = text_of(filled(store), openmetrics, ["gpu1", "nowhere"], self_series=False)
    assert 'server="gpu0"' not in text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all('server="gpu1"' in line for line in lines)
    assert text.endswith("# EOF\n") is openmetrics


def test_a_scrape_may_ask_for_the_series_of_the_exporter_alone(store):
    text = text_of(filled(store), servers=())
    assert "server=" not in text
    assert "comfyui_exporter_servers 1\n" in text


def test_servers_and_the_exporter_alone_are_together_the_whole(store):
    store.add_server("gpu1")
    whole = set(text_of(filled(store)).splitlines())
    parts = [text_of(store, servers=["gpu0"], self_series=False), text_of(store, servers=["gpu1"], self_series=False)]
    assert whole == {line for part in (*parts, text_of(store, servers=())) for line in part.splitlines()}


@pytest.mark.parametrize("openmetrics", FORMATS)
def test_only_what_changed_is_rendered_again(store, openmetrics):
    store.add_server("gpu1")
    before = filled(store).render(openmetrics)
    values = tuple(f"a {label}" for label in families.JOBS.labels)
    store.inc(families.JOBS, "gpu1", values)
    after = store.render(openmetrics)
    again = [(old, new) for old, new in zip(before, after, strict=True) if old is not new]
    line = 'comfyui_jobs_total{server="gpu1",job_type="a job_type",status="a status"}'
    assert again == [(f"{line} 1\n".encode(), f"{line} 2\n".encode())]


@pytest.mark.parametrize("openmetrics", FORMATS)
def test_an_update_that_changes_nothing_renders_nothing_again(store, openmetrics):
    store.touch(families.JOBS, "gpu0", VIDEO)
    store.set(families.UP, "gpu0", (), 1)
    store.replace(families.QUEUE_JOBS, "gpu0", {("running",): 1, ("pending",): 2})
    store.touch(families.JOB_QUEUE, "gpu0", ("video",))
    before = store.render(openmetrics)
    store.touch(families.JOBS, "gpu0", VIDEO)
    store.set(families.UP, "gpu0", (), 1)
    store.replace(families.QUEUE_JOBS, "gpu0", {("pending",): 2, ("running",): 1})
    store.touch(families.JOB_QUEUE, "gpu0", ("video",))
    assert all(old is new for old, new in zip(before, store.render(openmetrics), strict=True))


def test_exemplars_are_in_openmetrics_on_the_bucket_they_belong_to(store):
    store.observe(families.JOB_DURATION, "gpu0", VIDEO, 1.5, Exemplar({"prompt_id": "p1"}, 1.5, 100.5))
    store.observe(families.JOB_DURATION, "gpu0", VIDEO, 1.75, Exemplar({"prompt_id": "p2"}, 1.75, 101))
    store.observe(families.JOB_DURATION, "gpu0", VIDEO, 1e6, Exemplar({"prompt_id": "p3"}, 1e6, 102))
    store.observe(families.JOB_DURATION, "gpu0", VIDEO, 1.9)
    name = "comfyui_job_duration_seconds_bucket"
    labels = (("server", "gpu0"), ("job_type", "video"), ("status", "completed"))
    assert exemplars_of(store) == {
        (name, (*labels, ("le", "2.0"))): Exemplar({"prompt_id": "p2"}, 1.75, 101),
        (name, (*labels, ("le", "+Inf"))): Exemplar({"prompt_id": "p3"}, 1e6, 102),
    }
    assert "# {" not in text_of(store)


def test_exemplars_of_counters_are_the_newest(store):
    for prompt_id in ("p1", "p2"):
        store.inc(families.JOB_FAILURES, "gpu0", ("v", "dtype"), exemplar=Exemplar({"prompt_id": prompt_id}, 1, 7))
    labels = (("server", "gpu0"), ("job_type", "v"), ("pattern", "dtype"))
    assert exemplars_of(store) == {("comfyui_job_failures_total", labels): Exemplar({"prompt_id": "p2"}, 1, 7)}


def test_a_family_without_exemplars_keeps_none(store):
    store.inc(families.JOBS, "gpu0", VIDEO, exemplar=Exemplar({"prompt_id": "p"}, 1, 1))
    store.observe(families.JOB_QUEUE, "gpu0", ("v",), 1, Exemplar({"prompt_id": "p"}, 1, 1))
    assert exemplars_of(store) == {}


def test_an_update_of_the_wrong_type_is_refused(store):
    with pytest.raises(TypeError, match="comfyui_up is a gauge, not a counter"):
        store.inc(families.UP, "gpu0")
    with pytest.raises(TypeError, match="comfyui_busy_seconds_total is a counter, not a gauge"):
        store.set(families.BUSY, "gpu0", (), 1)
    with pytest.raises(TypeError, match="comfyui_job_queue_seconds is a histogram, not a counter"):
        store.inc(families.JOB_QUEUE, "gpu0", ("v",))
    with pytest.raises(TypeError, match="comfyui_up is a gauge, not a histogram"):
        store.touch(families.UP, "gpu0")


@pytest.mark.parametrize("family", ALL, ids=lambda family: family.name)
def test_labels_that_do_not_fit_are_refused(store, family):
    server = "gpu0" if family.per_server else None
    values = (*(store.labels(family)), "one too many")
    with pytest.raises(ValueError, match=f"{family.name} takes the labels"):
        fill(store, family, server, values)


def test_a_family_of_servers_needs_one_and_one_of_the_exporter_takes_none(store):
    with pytest.raises(ValueError, match="comfyui_up needs a server"):
        store.set(families.UP, None, (), 1)
    with pytest.raises(ValueError, match="comfyui_exporter_servers has no server"):
        store.set(families.SERVERS, "gpu0", (), 1)


def test_job_labels_follow_the_labels_of_finished_jobs():
    store = MetricStore(job_labels=["project", "team"])
    store.add_server("gpu0")
    assert store.labels(families.JOBS) == ("job_type", "status", "project", "team")
    assert store.labels(families.JOB_DURATION) == ("job_type", "status", "project", "team")
    assert store.labels(families.JOB_FAILURES) == ("job_type", "pattern")
    store.inc(families.JOBS, "gpu0", (*VIDEO, "film", ""))
    expected = (("server", "gpu0"), ("job_type", "video"), ("status", "completed"), ("project", "film"), ("team", ""))
    assert read(store) == {("comfyui_jobs_total", expected): 1}


@pytest.mark.parametrize(
    ("job_labels", "reason"),
    [
        (["status"], "'status' is already a label"),
        (["job_type"], "'job_type' is already a label"),
        (["server"], "'server' is already a label"),
        (["le"], "'le' is already a label"),
        (["instance"], "'instance' is already a label"),
        (["a", "a"], "'a' is given twice"),
        (["a-b"], "'a-b' is not a valid label name"),
        (["__a"], "'__a' is not a valid label name"),
        ([""], "'' is not a valid label name"),
    ],
)
def test_a_job_label_that_cannot_be_a_label_is_refused(job_labels, reason):
    with pytest.raises(ValueError, match=reason):
        MetricStore(job_labels=job_labels)
