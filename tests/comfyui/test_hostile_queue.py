"""Queues as a submitter with bad intent or a broken client makes them."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui.recorded import PLAIN, known_none, queue_body, queue_of, refusal
from comfyui_exporter.comfyui.client import askable
from comfyui_exporter.comfyui.json import PayloadError
from comfyui_exporter.comfyui.queue import read_job_details, read_jobs, read_prompt, read_queue
from comfyui_exporter.tracker.observations import Details, QueueItem

GOOD = QueueItem("good", 2.0, Details())
GOOD_ITEM = [2, "good", {}, {}, []]


@pytest.mark.parametrize("elements", range(2, 8))
def test_items_of_any_length_from_two_on_are_read(elements):
    item = [1, "a", {}, {"job_id": 5}, ["9"], {"sensitive": "x"}, 7][:elements]
    details = Details(job_id=5) if elements >= 4 else Details()
    queue = queue_of(item, GOOD_ITEM)
    assert queue.pending == (QueueItem("a", 1.0, details), GOOD)
    assert queue.problems == []


@pytest.mark.parametrize(
    "item",
    [
        "[]",
        "[1]",
        '[true, "a"]',
        '["1", "a"]',
        "[1, 2]",
        "[1, null]",
        '[[1], "a"]',
        "{}",
        "5",
        "null",
        '"a"',
        '[1e999, "a"]',
        f'[{"9" * 5000}, "a"]',
    ],
)
def test_an_item_that_is_none_is_a_problem_and_hides_no_other(item):
    queue = queue_of(item, GOOD_ITEM)
    assert queue.pending == (GOOD,)
    assert len(queue.problems) == 1
    assert queue.problems[0].startswith("queue item: ")
    assert len(queue.problems[0]) < 200


def test_a_bad_item_in_one_column_hides_nothing_in_the_other():
    queue = read_queue(queue_body(7, running=[GOOD_ITEM, 8]), PLAIN, known_none)
    assert queue.running == (GOOD,)
    assert queue.pending == ()
    assert len(queue.problems) == 2


@pytest.mark.parametrize("odd", [None, 5, "x", [1], {}, True, 1.5])
def test_a_graph_extra_data_and_outputs_of_any_type_are_taken(odd):
    assert queue_of([1, "a", odd, odd, odd], GOOD_ITEM).pending == (QueueItem("a", 1.0, Details()), GOOD)


@pytest.mark.parametrize(
    ("number", "taken"),
    [
        ("NaN", math.inf),
        ("Infinity", math.inf),
        ("-Infinity", math.inf),
        ("null", math.inf),
        ("9" * 400, math.inf),
        ("-" + "9" * 400, -math.inf),
        ("-48", -48.0),
        ("7.5", 7.5),
        ("1e300", 1e300),
    ],
)
def test_every_number_that_python_writes_has_its_place_in_the_order(number, taken):
    queue = queue_of(f'[{number}, "a", {{}}, {{}}, []]', GOOD_ITEM)
    assert queue.pending == (QueueItem("a", taken, Details()), GOOD)
    assert queue.problems == []


def test_an_id_with_a_lone_surrogate_is_told_from_every_id_that_can_be_asked_for():
    queue = queue_of(r'[1, "a\ud800", {}, {"job_id": "x\udfffy"}, []]')
    assert queue.pending == (QueueItem("a\ufffd", 1.0, Details(job_id="x\ufffdy")),)
    assert not askable(queue.pending[0].prompt_id)


def test_a_surrogate_pair_is_a_character():
    queue = queue_of(r'[1, "\ud83d\ude00", {}, {"job_id": "\ud83d\ude00", "x": NaN}, []]')
    assert queue.pending == (QueueItem("\U0001f600", 1.0, Details(job_id="\U0001f600")),)


def test_a_lone_surrogate_elsewhere_changes_no_other_job():
    queue = queue_of(r'[1, "a", {"1": {"class_type": "\ud800"}}, {"x": "\ud800"}, []]', GOOD_ITEM)
    assert [item.prompt_id for item in queue.pending] == ["a", "good"]


@pytest.mark.parametrize("key", ["job_id", "other"])
def test_bytes_that_are_no_utf8_do_not_hide_the_queue(key):
    body = queue_body(f'[1, "a", {{}}, {{"{key}": "x~y"}}, []]', GOOD_ITEM).replace(b"~", b"\xff")
    queue = read_queue(body, PLAIN, known_none)
    assert queue.pending == (QueueItem("a", 1.0, Details(job_id="x\ufffdy" if key == "job_id" else None)), GOOD)


def test_the_last_of_duplicate_keys_counts_as_in_python():
    assert queue_of('[1, "a", {}, {"job_id": 1, "job_id": 2}, []]').pending[0].details == Details(job_id=2)


@pytest.mark.parametrize("body", ["[" * 100_000, "]" * 100_000, '{"a":' * 100_000, "[" * 100_000 + '"' + "]" * 100_000])
def test_brackets_without_an_end_are_a_payload_error(body):
    for text in (body, queue_body(f'[1, "a", {body}, {{}}, []]').decode()):
        with pytest.raises(PayloadError):
            read_queue(text.encode(), PLAIN, known_none)


@pytest.mark.parametrize("depth", [50, 900, 5_000, 100_000])
@pytest.mark.parametrize("pair", ["[]", ['{"]}\\"": [', "]}"]])
@pytest.mark.parametrize("beside", ["1", "NaN", r'"\ud800"'])
def test_a_job_nested_deeper_than_anybody_can_read_hides_no_other(depth, pair, beside):
    deep = pair[0] * depth + "1" + pair[1] * depth
    queue = queue_of(f'[1, "a", {deep}, {{"x": {deep}, "y": {beside}, "job_id": 5}}, []]', GOOD_ITEM)
    assert queue.pending == (QueueItem("a", 1.0, Details(job_id=5)), GOOD)
    assert queue.problems == []


def test_a_number_that_no_float_holds_beside_one_that_is_none_hides_no_other():
    queue = queue_of('[1, "a", {}, {"x": 1e999, "y": NaN, "job_id": 5}, []]', GOOD_ITEM)
    assert queue.pending == (QueueItem("a", 1.0, Details(job_id=5)), GOOD)


def test_text_of_ten_megabytes_is_no_tag_and_no_prompt_id():
    long = "x" * 10_000_000
    queue = queue_of([1, long, {"1": long}, {"job_id": long, "job_type": long, "batch_id": 5, "create_time": 7}, []])
    assert queue.pending == (QueueItem("x" * 1_000, 1.0, Details(batch_id="5", created_ms=7)),)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"x"',
        b"<html>",
        b'{"queue_running": []}',
        b'{"queue_running": [], "queue_pending": {}}',
        b'{"queue_running": null, "queue_pending": []}',
        b'{"queue_running": [], "queue_pending": []} x',
        b"\xff\xfe",
    ],
)
def test_what_is_no_queue_is_a_payload_error(body):
    with pytest.raises(PayloadError):
        read_queue(body, PLAIN, known_none)


def test_a_key_that_a_newer_version_adds_is_passed_over():
    body = b'{"queue_running": [], "queue_pending": [[1, "a"]], "more": {"x": 1}}'
    assert read_queue(body, PLAIN, known_none).pending == (QueueItem("a", 1.0, Details()),)


# Known items


def test_known_items_are_not_looked_inside():
    body = queue_body([1, "known", {}, {"job_id": 1}, []], [2, "new", {}, {"job_id": 2}, []])
    queue = read_queue(body, PLAIN, lambda prompt_id, number: int((prompt_id, number) == ("known", 1.0)))
    assert queue.pending == (QueueItem("known", 1.0, None), QueueItem("new", 2.0, Details(job_id=2)))


def test_a_known_prompt_id_under_another_number_is_looked_inside():
    queue = read_queue(queue_body([2, "a", {}, {}, []]), PLAIN, lambda _, number: int(number == 1.0))
    assert queue.pending == (QueueItem("a", 2.0, Details()),)


@pytest.mark.parametrize("known", range(5))
def test_identical_items_beyond_the_known_count_get_details(known):
    item = [5, "twice", {}, {"job_id": 1}, []]
    queue = read_queue(queue_body(item, item, running=[item]), PLAIN, lambda *_: known)
    details = [entry.details for entry in queue.running + queue.pending]
    assert details == [None] * min(known, 3) + [Details(job_id=1)] * (3 - min(known, 3))


# GET /prompt


@pytest.mark.parametrize(("body", "remaining"), [(b"0", 0), (b"2", 2), (b"9223372036854775807", 2**63 - 1)])
def test_the_number_of_jobs_is_read(body, remaining):
    assert read_prompt(b'{"exec_info": {"queue_remaining": ' + body + b"}}") == remaining


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b'{"exec_info": null}',
        b'{"exec_info": {}}',
        *(
            b'{"exec_info": {"queue_remaining": ' + value + b"}}"
            for value in (
                b"-1",
                b"true",
                b'"2"',
                b"1.5",
                b"null",
                b"NaN",
                b"9223372036854775808",
                b"9" * 5000,
                b"1e999",
            )
        ),
    ],
)
def test_what_is_no_number_of_jobs_is_a_payload_error(body):
    with pytest.raises(PayloadError):
        read_prompt(body)


# GET /api/jobs


def test_the_jobs_of_a_newer_version_are_sorted_into_running_and_pending():
    jobs = [
        {"id": "r", "status": "in_progress", "priority": 1, "create_time": 5},
        {"id": "p", "status": "pending", "priority": -2.5},
    ]
    payload = read_jobs(json.dumps({"jobs": jobs, "pagination": {"total": 2}}).encode())
    assert payload.running == (QueueItem("r", 1.0, None),)
    assert payload.pending == (QueueItem("p", -2.5, None),)
    assert payload.problems == []


@pytest.mark.parametrize(
    "job",
    [
        None,
        5,
        [],
        {},
        {"id": 5, "status": "pending", "priority": 1},
        {"id": "x", "status": "pending"},
        {"id": "x", "status": "pending", "priority": None},
        {"id": "x", "status": "pending", "priority": "1"},
        {"id": "x", "status": "completed", "priority": 1},
        {"id": "x", "status": None, "priority": 1},
    ],
)
def test_a_job_that_is_none_is_a_problem_and_hides_no_other(job):
    payload = read_jobs(json.dumps({"jobs": [job, {"id": "p", "status": "pending", "priority": 3}]}).encode())
    assert payload.pending == (QueueItem("p", 3.0, None),)
    assert payload.running == ()
    assert len(payload.problems) == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"jobs": null}', b'{"jobs": {}}'])
def test_what_is_no_list_of_jobs_is_a_payload_error(body):
    with pytest.raises(PayloadError):
        read_jobs(body)


def test_the_details_of_a_job_come_from_its_workflow():
    body = json.dumps({"id": "a", "workflow": {"prompt": {}, "extra_data": {"job_id": 7, "create_time": 12}}}).encode()
    assert read_job_details(body, PLAIN) == Details(job_id=7, created_ms=12)


@pytest.mark.parametrize("body", [b"{}", b'{"workflow": null}'])
def test_a_job_without_a_workflow_has_no_details(body):
    assert read_job_details(body, PLAIN) is None


def test_a_workflow_without_anything_has_empty_details():
    assert read_job_details(b'{"workflow": {}}', PLAIN) == Details()


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"workflow": 5}'])
def test_what_is_no_job_is_a_payload_error(body):
    with pytest.raises(PayloadError):
        read_job_details(body, PLAIN)


# Anything

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(
            st.sampled_from(["queue_running", "queue_pending", "jobs", "workflow", "extra_data", "job_id", "id", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def _read_all(body):
    for read in (
        read_prompt,
        read_jobs,
        lambda data: read_queue(data, PLAIN, known_none),
        lambda data: read_job_details(data, PLAIN),
    ):
        assert len(refusal(read, body)) < 1_000


@given(JSON)
def test_any_json_is_read_or_refused(value):
    _read_all(json.dumps(value).encode())


@given(st.lists(JSON, max_size=4), st.lists(JSON, max_size=4))
def test_any_items_leave_the_good_one_readable(running, pending):
    body = json.dumps({"queue_running": running, "queue_pending": [*pending, GOOD_ITEM]}).encode()
    queue = read_queue(body, PLAIN, known_none)
    assert queue.pending[-1] == GOOD
    assert len(queue.running) + len(queue.pending) + len(queue.problems) == len(running) + len(pending) + 1
    repr(queue).encode()  # nothing in it that can't be written


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body):
    _read_all(body)
