"""GET /api/jobs and what newer versions add to it."""

from __future__ import annotations

import pytest

from comfyui_exporter.simulator.execution import INTERRUPTED, failed

LISTED = {"id", "status", "priority", "create_time", "outputs_count"}
ENDED = LISTED | {"execution_start_time", "execution_end_time"}
DETAIL = {"outputs", "execution_status", "workflow"}


@pytest.fixture
def busy(make_bench):
    """Makes a ComfyUI with one prompt in each state; `ids` has their ids by state."""

    def make(profile="0.8.0"):
        bench = make_bench(profile=profile)
        bench.ids = {"completed": bench.run(extra_data={"extra_pnginfo": {"workflow": {"id": "w"}}})}
        for state, outcome in (("failed", failed()), ("interrupted", INTERRUPTED)):
            bench.now += 1000
            bench.ids[state] = bench.submit()
            bench.comfy.start_next()
            bench.comfy.finish(outcome)
        for state in ("running", "pending"):
            bench.now += 1000
            bench.ids[state] = bench.submit()
            bench.comfy.start_next()
        return bench

    return make


def listed(bench, **query):
    answer = bench.comfy.jobs(query)
    assert answer.status == 200, answer.body
    names = {prompt_id: state for state, prompt_id in bench.ids.items()}
    return [names[job["id"]] for job in answer.body["jobs"]]


def test_there_is_no_such_route_in_old_versions(bench):
    for answer in (bench.comfy.jobs(), bench.comfy.job("x")):
        assert (answer.status, answer.body) == (404, "")


def test_all_states_are_listed_newest_first_without_graphs(busy):
    bench = busy()
    assert listed(bench) == ["pending", "running", "interrupted", "failed", "completed"]
    keys = [set(job) for job in bench.comfy.jobs().body["jobs"]]
    assert keys == [LISTED, LISTED, ENDED, ENDED | {"execution_error"}, ENDED | {"preview_output", "workflow_id"}]


def test_states_can_be_chosen_and_sorted_and_cut_into_pages(busy):
    bench = busy()
    assert listed(bench, status="pending,in_progress") == ["pending", "running"]
    assert listed(bench, sort_order="asc", limit="2", offset="1") == ["failed", "interrupted"]
    assert listed(bench, workflow_id="w") == ["completed"]
    assert listed(bench, status=",") == []
    pagination = bench.comfy.jobs({"limit": "2"}).body["pagination"]
    assert pagination == {"offset": 0, "limit": 2, "total": 5, "has_more": True}


@pytest.mark.parametrize(
    ("profile", "of_failed", "of_cancelled"),
    [("0.8.0", ["interrupted", "failed"], None), ("0.38", ["failed"], ["interrupted"])],
)
def test_an_interrupted_prompt_is_failed_until_newer_versions_call_it_cancelled(busy, profile, of_failed, of_cancelled):
    bench = busy(profile)
    assert listed(bench, status="failed") == of_failed
    if of_cancelled is None:
        assert bench.comfy.jobs({"status": "cancelled"}).status == 400
    else:
        assert listed(bench, status="cancelled") == of_cancelled


@pytest.mark.parametrize(
    ("name", "value"),
    [("status", "done"), ("sort_by", "x"), ("sort_order", "x"), ("limit", "0"), ("limit", "x"), ("offset", "x")],
)
def test_a_bad_query_is_refused_with_a_text(busy, name, value):
    answer = busy().comfy.jobs({name: value})
    assert (answer.status, list(answer.body)) == (400, ["error"])


@pytest.mark.parametrize(("profile", "with_workflow"), [("0.8.0", False), ("0.38", True)])
def test_the_detail_of_a_waiting_prompt_has_its_workflow_only_in_newer_versions(busy, profile, with_workflow):
    bench = busy(profile)
    for state in ("pending", "running"):
        assert ("workflow" in bench.comfy.job(bench.ids[state]).body) is with_workflow
    assert set(bench.comfy.job(bench.ids["completed"]).body) >= DETAIL


def test_an_unknown_prompt_is_not_found(busy):
    answer = busy().comfy.job("unknown")
    assert (answer.status, answer.body) == (404, {"error": "Job not found"})


def test_cancelling_interrupts_what_runs_and_deletes_what_waits(busy):
    bench = busy("0.38")
    assert bench.comfy.cancel(bench.ids["pending"])
    assert bench.comfy.cancel(bench.ids["running"])
    assert not bench.comfy.cancel(bench.ids["completed"])
    bench.comfy.finish()
    assert [run.truth for run in bench.comfy.ledger.runs[-2:]] == ["interrupted", "cancelled"]
