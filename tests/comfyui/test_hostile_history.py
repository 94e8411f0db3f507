"""History entries as nodes, clients and unlucky servers make them."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui.recorded import PLAIN, entry_body, gets, history_entry, history_payload, known_none, refusal
from comfyui_exporter.comfyui.history import read_history
from comfyui_exporter.comfyui.json import PayloadError
from comfyui_exporter.comfyui.queue import read_prompt, read_queue
from comfyui_exporter.comfyui.system import read_system_stats
from comfyui_exporter.tracker.observations import Details, Failure, HistoryEntry, Media, Outcome, Output

ODD = [None, 5, -1.5, "x", "", True, [], [1], {}, {"x": 1}]
GRAPH = {
    "1": {"class_type": "Load", "inputs": {"name": "a"}},
    "2": {"class_type": "Sample", "inputs": {"model": ["1", 0], "steps": 20, "list": [1, 2, 3], "other": ["9", 0]}},
    "3": {"class_type": "Save", "inputs": {"images": ["2", 0]}},
    "4": {"class_type": "Unused", "inputs": {"images": ["1", 0]}},
}


def message(event, **data):
    return [event, {"prompt_id": "a", "timestamp": 2_000, **data}]


def status(text, *messages):
    return {"status_str": text, "completed": text == "success", "messages": list(messages)}


def beside_a_good_one(entry):
    """A history of this entry, given as text or JSON, and a good one."""
    text = entry if isinstance(entry, str) else json.dumps(entry)
    return read_history(f'{{"bad": {text}, "good": {{"prompt": [2, "good", {{}}, {{}}, []]}}}}'.encode(), PLAIN)


GOOD = HistoryEntry("good", 2.0, Outcome.COMPLETED)


@pytest.mark.parametrize("elements", range(2, 8))
def test_prompts_of_any_length_from_two_on_are_read(elements):
    prompt = [1, "a", GRAPH, {"job_id": 5}, ["3"], {"sensitive": "x"}, 7][:elements]
    entry = history_entry(prompt=prompt)
    assert entry.details == (Details(job_id=5) if elements >= 4 else Details())
    assert entry.nodes_executed == (3 if elements >= 5 else 0)


@pytest.mark.parametrize(
    "entry",
    [
        *(odd for odd in ODD),
        {"prompt": None},
        {"prompt": []},
        {"prompt": [1]},
        {"prompt": ["x", "a"]},
        {"prompt": "ab"},
    ],
)
def test_an_entry_that_is_none_is_a_problem_and_hides_no_other(entry):
    history = beside_a_good_one(json.dumps(entry))
    assert history.entries == (GOOD,)
    assert history.size == 2
    assert len(history.problems) == 1
    assert history.problems[0].startswith("history entry: ")


def test_an_answer_whose_only_entry_is_unreadable_is_not_an_empty_one():
    with pytest.raises(PayloadError):
        read_history(b'{"a": {"prompt": 7}}', PLAIN)


def test_an_empty_answer_has_no_entries():
    history = read_history(b"{}", PLAIN)
    assert (history.entries, history.size, history.problems) == ((), 0, [])


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"5", b'"x"', b"<html>", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_history_is_a_payload_error(body):
    with pytest.raises(PayloadError):
        read_history(body, PLAIN)


# Status


def test_a_status_of_null_is_completed():
    entry = history_entry(status=None)
    assert entry == HistoryEntry("a", 1.0, Outcome.COMPLETED)


def test_a_status_that_is_absent_is_completed():
    assert beside_a_good_one('{"prompt": [1, "bad"]}').entries[0] == HistoryEntry("bad", 1.0, Outcome.COMPLETED)


@pytest.mark.parametrize("odd", [5, "x", True, [1]])
def test_a_status_of_the_wrong_type_is_a_problem_of_a_completed_job(odd):
    history = history_payload(status=odd)
    assert history.entries == (HistoryEntry("a", 1.0, Outcome.COMPLETED),)
    assert len(history.problems) == 1


@pytest.mark.parametrize("messages", [5, "x", True, {"x": 1}])
def test_an_error_is_an_error_also_without_readable_messages(messages):
    history = history_payload(status={"status_str": "error", "completed": False, "messages": messages})
    assert history.entries == (HistoryEntry("a", 1.0, Outcome.FAILED),)
    assert len(history.problems) == 1


@pytest.mark.parametrize("messages", [None, []])
def test_a_status_without_messages_is_no_problem(messages):
    history = history_payload(status={"status_str": "error", "completed": False, "messages": messages})
    assert history.entries == (HistoryEntry("a", 1.0, Outcome.FAILED),)
    assert history.problems == []


@pytest.mark.parametrize("bad", [None, 5, "x", [], ["execution_start"], [5, {}], ["execution_start", 5], {}])
def test_a_message_that_is_none_is_a_problem_and_hides_no_other(bad):
    history = history_payload(
        status=status("success", message("execution_start", timestamp=1_000), bad, message("execution_success"))
    )
    assert history.entries == (HistoryEntry("a", 1.0, Outcome.COMPLETED, started_ms=1_000, ended_ms=2_000),)
    assert len(history.problems) == 1
    assert history.problems[0].startswith("message: ")


def test_messages_of_newer_versions_are_passed_over():
    history = history_payload(
        status=status("success", message("execution_dreamt"), message("execution_success", more=1))
    )
    assert history.entries == (HistoryEntry("a", 1.0, Outcome.COMPLETED, ended_ms=2_000),)
    assert history.problems == []


@pytest.mark.parametrize("timestamp", [None, "2000", True, -1, 0, [], 1e300, 2**63])
def test_a_timestamp_that_is_none_is_not_given(timestamp):
    entry = history_entry(
        status=status("success", message("execution_start", timestamp=timestamp), message("execution_success"))
    )
    assert (entry.started_ms, entry.ended_ms) == (None, 2_000)


def test_an_interrupt_is_told_from_a_failure_by_its_message_alone():
    entry = history_entry(status=status("error", message("execution_interrupted", node_id="2", node_type="Sample")))
    assert (entry.outcome, entry.failure, entry.ended_ms) == (Outcome.INTERRUPTED, None, 2_000)


def test_a_failure_is_read_with_bounded_strings():
    long = "x" * 100_000
    entry = history_entry(
        status=status(
            "error",
            message(
                "execution_error",
                node_id=long,
                node_type=long,
                exception_type=long,
                exception_message=f"  {long}\n",
                traceback=[long],
                current_inputs={"x": [long]},
            ),
        )
    )
    assert entry.failure == Failure("x" * 200, "x" * 200, "x" * 200, "x" * 1_998)


@pytest.mark.parametrize("odd", [None, 5, True, [], {}, ["x"]])
def test_a_failure_that_says_nothing_readable_is_still_a_failure(odd):
    entry = history_entry(
        status=status(
            "error",
            message("execution_error", node_id=odd, node_type=odd, exception_type=odd, exception_message=odd),
        )
    )
    assert (entry.outcome, entry.failure) == (Outcome.FAILED, Failure())


def test_a_success_is_not_undone_by_the_message_of_a_blocked_node():
    assert history_entry(status=status("success", message("execution_interrupted"))).outcome is Outcome.COMPLETED


# Nodes


def cached(*nodes):
    return status("success", message("execution_cached", nodes=list(nodes)))


def test_only_nodes_that_the_requested_outputs_need_are_counted():
    entry = history_entry(prompt=[1, "a", GRAPH, {}, ["3"]], status=cached("1", "4"))
    assert (entry.nodes_executed, entry.nodes_cached) == (2, 1)


def test_a_loop_in_a_graph_ends():
    loop = {"1": {"inputs": {"x": ["2", 0]}}, "2": {"inputs": {"x": ["1", 0], "y": ["2", 0]}}}
    assert history_entry(prompt=[1, "a", loop, {}, ["1"]]).nodes_executed == 2


def test_a_chain_of_many_nodes_needs_no_recursion():
    chain = {str(n): {"inputs": {"x": [str(n + 1), 0]}} for n in range(20_000)}
    assert history_entry(prompt=[1, "a", chain, {}, ["0"]]).nodes_executed == 20_000


@pytest.mark.parametrize("odd", ODD)
def test_graphs_and_outputs_of_any_type_are_taken(odd):
    for prompt in ([1, "a", odd, {}, ["3"]], [1, "a", GRAPH, {}, odd], [1, "a", {"3": odd}, {}, ["3"]]):
        assert history_entry(prompt=prompt).nodes_executed in {0, 1}
    assert history_entry(prompt=[1, "a", {"3": {"inputs": {"x": odd}}}, {}, ["3"]]).nodes_executed == 1


def test_without_a_graph_the_cached_nodes_are_still_known():
    entry = history_entry(prompt=[1, "a"], status=cached("1", "2", 5, None))
    assert (entry.nodes_executed, entry.nodes_cached) == (0, 2)


@pytest.mark.parametrize("nodes", [None, 5, "12", {"1": 2}])
def test_cached_nodes_of_the_wrong_type_are_none(nodes):
    entry = history_entry(
        prompt=[1, "a", GRAPH, {}, ["3"]], status=status("success", message("execution_cached", nodes=nodes))
    )
    assert (entry.nodes_executed, entry.nodes_cached) == (3, 0)


# Outputs


def outputs_of(outputs, **parts):
    entry = history_entry(outputs=outputs, **parts)
    assert sum(entry.output_counts.values()) >= len(entry.outputs)
    return entry


@pytest.mark.parametrize(
    ("key", "file", "media"),
    [
        ("images", {"filename": "a.png"}, Media.IMAGES),
        ("images", {"filename": "a.PNG"}, Media.IMAGES),
        ("images", {"filename": "a.mp4"}, Media.VIDEO),
        ("images", {"filename": "a"}, Media.IMAGES),
        ("gifs", {"filename": "a.webm", "format": "video/webm"}, Media.VIDEO),
        ("gifs", {"filename": "a.webp", "format": "image/webp"}, Media.IMAGES),
        ("gifs", {"filename": "a", "format": "image/gif"}, Media.IMAGES),
        ("gifs", {"filename": "a"}, Media.VIDEO),
        ("video", {"filename": "a.mov"}, Media.VIDEO),
        ("audio", {"filename": "a.flac"}, Media.AUDIO),
        ("audio", {"filename": "a", "format": "audio/x"}, Media.AUDIO),
        ("3d", {"filename": "a.glb"}, Media.THREE_D),
        ("result", {"filename": "a.obj"}, Media.THREE_D),
        ("files", {"filename": "a.json"}, Media.TEXT),
        ("whatever", {"filename": "a.bin"}, Media.OTHER),
        ("whatever", {"filename": ".."}, Media.OTHER),
        ("text", "some text", Media.TEXT),
        ("text", "", Media.TEXT),
        ("result", "mesh/a.glb", Media.THREE_D),
    ],
)
def test_each_output_is_of_its_kind(key, file, media):
    assert history_entry(outputs={"9": {key: [file]}}).output_counts == {media: 1}


@pytest.mark.parametrize(
    ("animated", "media"),
    [([True], Media.VIDEO), ([False], Media.IMAGES), ([], Media.IMAGES), (True, Media.IMAGES), ("yes", Media.IMAGES)],
)
def test_an_animation_is_a_video(animated, media):
    outputs = {"9": {"images": [{"filename": "a.webp"}], "animated": animated}}
    assert history_entry(outputs=outputs).output_counts == {media: 1}


@pytest.mark.parametrize("kind", ["temp", "input"])
def test_previews_and_inputs_are_no_outputs(kind):
    entry = outputs_of(
        {"9": {"images": [{"filename": "a.png", "type": kind}, {"filename": "b.png", "type": "output"}]}}
    )
    assert entry.outputs == (Output("9", Media.IMAGES, "b.png"),)
    assert entry.output_counts == {Media.IMAGES: 1}


def test_outputs_of_cached_nodes_are_not_counted():
    outputs = {"1": {"images": [{"filename": "old.png"}]}, "2": {"images": [{"filename": "new.png"}]}}
    entry = outputs_of(outputs, status=cached("1"))
    assert entry.outputs == (Output("2", Media.IMAGES, "new.png"),)


@pytest.mark.parametrize("odd", ODD)
def test_outputs_of_any_type_hide_no_other(odd):
    assert outputs_of(odd).outputs == ()
    good = {"images": [{"filename": "b.png"}]}
    for outputs in ({"1": odd, "9": good}, {"1": {"images": odd}, "9": good}, {"1": {"images": [odd]}, "9": good}):
        assert outputs_of(outputs).outputs == (Output("9", Media.IMAGES, "b.png"),)
    named = {"1": {"images": [{"filename": odd, "type": odd, "subfolder": odd, "format": odd}]}, "9": good}
    assert outputs_of(named).outputs[-1] == Output("9", Media.IMAGES, "b.png")


def test_of_many_outputs_all_are_counted_and_the_first_are_kept():
    entry = outputs_of({"9": {"images": [{"filename": f"{n}.png"} for n in range(1_000)]}})
    assert entry.output_counts == {Media.IMAGES: 1_000}
    assert [output.filename for output in entry.outputs] == [f"{n}.png" for n in range(200)]


def test_names_of_outputs_are_bounded():
    long = "x" * 100_000
    (output,) = outputs_of({long: {"images": [{"filename": long, "subfolder": long, "type": long}]}}).outputs
    assert output == Output("x" * 200, Media.IMAGES, "x" * 1_000, "x" * 1_000, "x" * 50)


@pytest.mark.parametrize(
    "outputs",
    [
        b'{"9": {"3d": ["a\xff.glb"]}}',
        b'{"9": {"3d": [{"filename": "a\xff.glb"}]}}',
        rb'{"9": {"3d": ["a\ud800.glb"]}}',
    ],
)
def test_file_names_that_are_no_utf8_are_read_with_a_replacement(outputs):
    body = b'{"a": {"prompt": [1, "a"], "outputs": ' + outputs + b"}}"
    (entry,) = read_history(body, PLAIN).entries
    assert [output.filename for output in entry.outputs] == ["a\ufffd.glb"]


@pytest.mark.parametrize(
    "graph",
    [b'{"3": {"inputs": {"x": ["\xff", 0]}}}', b'{"3": {"class_type": "\xff"}}', rb'{"3": {"inputs": {"\ud800": 1}}}'],
)
def test_graphs_that_are_no_utf8_are_read(graph):
    body = b'{"a": {"prompt": [1, "a", ' + graph + b', {}, ["3"]]}}'
    (entry,) = read_history(body, PLAIN).entries
    assert entry.nodes_executed == 1


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", r'"\ud800"', "1e999", "9" * 400, "[" * 5_000 + "]" * 5_000]
)
def test_an_entry_with_what_is_no_json_hides_nothing(value):
    entry = (
        f'{{"prompt": [1, "bad", {{"3": {{"class_type": "X", "inputs": {{"x": {value}}}}}}}, '
        f'{{"x": {value}, "job_id": 5}}, ["3"]], "outputs": {{"3": {{"images": '
        f'[{{"filename": "a.png", "x": {value}}}]}}}}, '
        f'"status": {{"status_str": "error", "messages": [["execution_error", {{"timestamp": 7, "exception_type": "E", '
        f'"current_inputs": {{"x": [{value}]}}}}]]}}}}'
    )
    bad, good = beside_a_good_one(entry).entries
    assert bad == HistoryEntry(
        "bad",
        1.0,
        Outcome.FAILED,
        Details(job_id=5),
        ended_ms=7,
        failure=Failure(exception_type="E"),
        outputs=(Output("3", Media.IMAGES, "a.png"),),
        output_counts={Media.IMAGES: 1},
        nodes_executed=1,
    )
    assert good == GOOD


# Known entries


def test_a_known_entry_is_not_looked_inside():
    asked = []

    def knows(identity):
        asked.append(identity)
        return identity[0] == "a"

    told = status("error", message("execution_start", timestamp=1_000), message("execution_error", node_id="3"))
    body = entry_body(
        prompt=[1, "a", GRAPH, {"job_id": 5}, ["3"]], outputs={"3": {"images": [{"filename": "a.png"}]}}, status=told
    )
    (entry,) = read_history(body, PLAIN, knows).entries
    assert entry == HistoryEntry("a", 1.0, Outcome.FAILED, started_ms=1_000, ended_ms=2_000)
    assert asked == [("a", 1.0, 1_000)]


def test_the_key_names_the_entry_and_its_prompt_the_number():
    (entry,) = read_history(b'{"key": {"prompt": [-3.5, "other"]}}', PLAIN).entries
    assert (entry.prompt_id, entry.number) == ("key", -3.5)


# Anything


def _read_all(body):
    for read in (
        lambda data: read_history(data, PLAIN),
        lambda data: read_queue(data, PLAIN, known_none),
        read_prompt,
        read_system_stats,
    ):
        assert len(refusal(read, body)) < 1_000


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(body):
    _read_all(body)
    _read_all(b'{"a": {"prompt": [1, "a", ' + body + b', {}, []], "outputs": {}}}')


LEAF = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=5)
    | st.just([])
    | st.just({})
)
RECORDED = [
    json.loads(get.body)
    for get in gets()
    if get.route in {"/queue", "/history", "/system_stats"} and len(get.body) > 100
]


def _paths(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _paths(inner, (*path, index))


@settings(max_examples=200)
@given(st.data())
def test_recorded_answers_with_any_part_replaced_are_read_or_refused(data):
    payload = copy.deepcopy(data.draw(st.sampled_from(RECORDED)))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(_paths(payload))))
        if not path:
            continue
        *outer, last = path
        parent = payload
        for step in outer:
            parent = parent[step]
        if data.draw(st.booleans()):
            parent[last] = data.draw(LEAF)
        else:
            del parent[last]
    _read_all(json.dumps(payload).encode())


@given(st.sampled_from(RECORDED), st.integers(0, 2**31), st.binary(max_size=3))
def test_recorded_answers_with_bytes_overwritten_are_read_or_refused(payload, place, bytes_):
    body = json.dumps(payload).encode()
    at = place % len(body)
    _read_all(body[:at] + bytes_ + body[at + len(bytes_) :])
    _read_all(body[:at])
