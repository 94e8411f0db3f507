"""POST /prompt: numbers, ids, what is added to extra_data, and refusals."""

from __future__ import annotations

import pytest

TROUBLE = "500 Internal Server Error\n\nServer got itself in trouble"


def test_numbers_count_from_0_and_every_submission_counts_even_a_refused_one(bench):
    assert bench.comfy.submit({"prompt": bench.graph()})[1]["number"] == 0
    assert bench.comfy.submit({"nothing": 1})[0] == 400
    assert bench.comfy.submit({"prompt": bench.graph()})[1]["number"] == 2


def test_a_number_of_the_client_becomes_a_float_and_does_not_count(bench):
    number = bench.comfy.submit({"prompt": bench.graph(), "number": 7})[1]["number"]
    assert (number, type(number)) == (7.0, float)
    assert bench.comfy.submit({"prompt": bench.graph()})[1]["number"] == 0


def test_front_negates_the_number_so_that_the_newest_runs_first(bench):
    first, second, third = bench.submit(), bench.submit(front=True), bench.submit(front=True)
    assert bench.comfy.queue().body["queue_pending"][0][:2] == [-2, third]
    for expected in (third, second, first):
        assert bench.comfy.start_next().prompt_id == expected
        bench.comfy.finish()


@pytest.mark.parametrize(("given", "taken"), [("", ""), (None, "None"), (17, "17"), ("a/../b", "a/../b")])
def test_old_versions_take_any_prompt_id_as_text(bench, given, taken):
    assert bench.comfy.submit({"prompt": bench.graph(), "prompt_id": given})[1]["prompt_id"] == taken


@pytest.mark.parametrize("given", ["", 17, "not-a-uuid", "6BA7B810-9DAD-41D1-80B4-00C04FD430C8", "6ba7b8109dad41d1"])
def test_new_versions_refuse_a_prompt_id_that_is_no_canonical_uuid(make_bench, given):
    bench = make_bench(profile="0.38")
    status, answer = bench.comfy.submit({"prompt": bench.graph(), "prompt_id": given})
    assert (status, answer["error"]["type"], answer["node_errors"]) == (400, "invalid_prompt_id", {})
    assert bench.comfy.queue_remaining == 0


def test_new_versions_make_an_id_where_the_client_sends_null(make_bench):
    bench = make_bench(profile="0.38")
    assert len(bench.comfy.submit({"prompt": bench.graph(), "prompt_id": None})[1]["prompt_id"]) == 36


def test_extra_data_comes_back_as_sent_with_the_client_id_added(bench):
    sent = {"job_id": 5, "nested": {"a": [1]}}
    bench.submit(extra_data=sent, client_id="me")
    assert bench.comfy.queue().body["queue_pending"][0][3] == {**sent, "client_id": "me"}
    assert sent == {"job_id": 5, "nested": {"a": [1]}}


def test_new_versions_add_the_time_of_submission(make_bench):
    bench = make_bench(profile="0.8.0")
    bench.submit()
    assert bench.comfy.queue().body["queue_pending"][0][3] == {"create_time": 1_000_000}


@pytest.mark.parametrize(("profile", "in_queue"), [("0.3.64", True), ("0.8.0", False), ("0.38", False)])
def test_credentials_show_in_the_queue_of_old_versions_and_in_no_history(make_bench, profile, in_queue):
    bench = make_bench(profile=profile)
    prompt_id = bench.submit(extra_data={"api_key_comfy_org": "secret", "auth_token_comfy_org": "secret", "k": 1})
    assert ("secret" in str(bench.comfy.queue().body)) is in_queue
    bench.comfy.start_next()
    bench.comfy.finish()
    entry = bench.comfy.history_one(prompt_id).body[prompt_id]
    assert "secret" not in str(entry)
    assert entry["prompt"][3]["k"] == 1


@pytest.mark.parametrize(
    "body",
    [
        None,
        5,
        {"prompt": [1]},
        {"prompt": {"1": 5}},
        {"prompt": {}, "number": "x"},
        {"prompt": {"1": {}}, "number": None},
    ],
)
def test_a_body_of_unexpected_shape_is_a_500_in_plain_text(bench, body):
    assert bench.comfy.submit(body) == (500, TROUBLE)


def test_a_second_prompt_of_the_same_id_and_number_is_queued_although_it_is_a_500(bench):
    bench.submit(number=5, prompt_id="twice")
    assert bench.comfy.submit({"prompt": bench.graph(), "number": 5, "prompt_id": "twice"})[0] == 500
    assert bench.pending == ["twice", "twice"]
    assert len(bench.comfy.ledger.runs) == 2
    assert bench.names() == ["status"]


def test_the_same_prompt_with_the_same_id_and_number_is_taken_twice(bench):
    body = {"prompt": bench.graph(), "number": 5, "prompt_id": "twice"}
    assert [bench.comfy.submit(body)[0], bench.comfy.submit(body)[0]] == [200, 200]


def test_extra_data_that_takes_no_client_id_is_a_500_and_queues_nothing(bench):
    assert bench.comfy.submit({"prompt": bench.graph(), "extra_data": None, "client_id": "me"})[0] == 500
    assert bench.comfy.queue_remaining == 0


@pytest.mark.parametrize("extra_data", [None, [1]])
def test_new_versions_answer_500_to_extra_data_that_is_no_object(make_bench, extra_data):
    bench = make_bench(profile="0.8.0")
    assert bench.comfy.submit({"prompt": bench.graph(), "extra_data": extra_data})[0] == 500
    assert bench.comfy.queue_remaining == 0


def test_valid_outputs_run_although_others_are_not(bench):
    graph = {**bench.graph(), "3": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}}}
    status, answer = bench.comfy.submit({"prompt": graph})
    assert (status, list(answer["node_errors"])) == (200, ["3"])
    assert bench.comfy.queue().body["queue_pending"][0][4] == ["2"]


def test_only_the_wanted_outputs_are_executed(bench):
    graph = {**bench.graph(), "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}
    bench.comfy.submit({"prompt": graph, "partial_execution_targets": ["3"]})
    assert bench.comfy.queue().body["queue_pending"][0][4] == ["3"]


def test_links_of_the_wrong_type_and_values_out_of_range_are_told_of(bench):
    graph = bench.graph(steps=-1)
    graph["3"] = {"class_type": "CLIPTextEncode", "inputs": {"text": "x", "clip": ["1", 0]}}
    graph["4"] = {"class_type": "PreviewAny", "inputs": {"source": ["3", 0]}}
    answer = bench.comfy.submit({"prompt": graph})[1]
    kinds = {node_id: [error["type"] for error in node["errors"]] for node_id, node in answer["node_errors"].items()}
    assert kinds == {"1": ["value_smaller_than_min"], "3": ["return_type_mismatch"]}
