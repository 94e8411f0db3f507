"""The simulator does what a real ComfyUI did: every recording is played against it, and its clients see the same.

Compared are, for each socket, the order of events and the shape of each kind; for each request, the status, the shape
of the answer, and of what it lists the order and the contents. Names that are made up, times and paths are free.
"""

from __future__ import annotations

from collections import defaultdict

import pytest

from simulator.replay import Replay, load, names
from simulator.shapes import collapsed, renamed, shape

LATE_WORKER = "the real worker took the first prompt only after the next one was put, which is a matter of luck"

ORDER_IS_LUCK = {
    "queue_order_and_front": LATE_WORKER,
    "same_number_and_prompt_id_twice": LATE_WORKER,
    "twenty_tiny_jobs": "prompts of 1 ms end between the requests that put the next ones, or after them",
}
"""Recordings whose sockets' order of events is not compared, only how many there are of each: why."""

FREE_PATHS = {
    ".devices[].index:int": "a GPU has an index, the recorded CPU has null",
    ".devices[].index:NoneType": "as above",
    ".system.installed_templates_version:str": "null where that package is not installed",
    ".system.installed_templates_version:NoneType": "as above",
}
"""Paths in answers that one of the two may lack: why."""


@pytest.fixture(params=names())
def name(request):
    return request.param


_REPLAYED = {}


@pytest.fixture
async def replayed(name):
    """The replay of the recording, run once for all the tests that look at it."""
    if name not in _REPLAYED:
        _REPLAYED[name] = await Replay(name).run()
    return _REPLAYED[name]


def recorded_frames(name):
    """Frames of each socket in the recording, as `Heard.frames` has them."""
    frames = defaultdict(list)
    for step in load(name):
        if step["kind"].startswith("ws:") and "closed" not in step:
            frames[step["kind"].removeprefix("ws:")].append(step.get("frame") or {"event": step["event"]})
    return frames


def event_name(frame):
    return frame.get("type") or f"preview {frame['event']}"


async def test_each_socket_hears_the_same_events_in_the_same_order(name, replayed):
    for socket, frames in recorded_frames(name).items():
        heard = [event_name(frame) for frame in replayed.heard[socket].frames]
        recorded = [event_name(frame) for frame in frames]
        if name in ORDER_IS_LUCK:
            assert sorted(heard) == sorted(recorded), socket
        else:
            assert collapsed(heard) == collapsed(recorded), socket


async def test_each_kind_of_event_has_the_same_shape(name, replayed):
    ids = set(replayed.ids) | set(replayed.ids.values())
    for socket, frames in recorded_frames(name).items():
        assert shapes_by_event(replayed.heard[socket].frames, ids) == shapes_by_event(frames, ids), socket


def shapes_by_event(frames, ids):
    shapes = defaultdict(set)
    for frame in frames:
        shapes[event_name(frame)] |= shape(frame, ids)
    return dict(shapes)


async def test_status_counts_the_same_numbers(name, replayed):
    for socket, frames in recorded_frames(name).items():
        if name not in ORDER_IS_LUCK:
            assert remaining(replayed.heard[socket].frames) == remaining(frames), socket


def remaining(frames):
    return [
        frame["data"]["status"]["exec_info"]["queue_remaining"] for frame in frames if frame.get("type") == "status"
    ]


async def test_nodes_progress_through_the_same_states(name, replayed):
    for socket, frames in recorded_frames(name).items():
        heard = renamed(replayed.heard[socket].frames, replayed.ids)
        assert node_states(heard) == node_states(frames), socket


def node_states(frames):
    """For each prompt, the states of each node in the order in which they first show."""
    states = defaultdict(list)
    for frame in frames:
        if frame.get("type") == "progress_state":
            for node_id, node in frame["data"]["nodes"].items():
                state = (node_id, node["state"], node["display_node_id"], node["real_node_id"], node["parent_node_id"])
                if state not in states[frame["data"]["prompt_id"]]:
                    states[frame["data"]["prompt_id"]].append(state)
    return dict(states)


async def test_errors_are_told_in_the_same_words(name, replayed):
    for socket, frames in recorded_frames(name).items():
        assert errors(renamed(replayed.heard[socket].frames, replayed.ids)) == errors(frames), socket


def errors(frames):
    told = ("prompt_id", "node_id", "node_type", "executed", "exception_type", "exception_message")
    return [
        {key: frame["data"].get(key) for key in told}
        | {"current_outputs": sorted(frame["data"].get("current_outputs", []))}
        for frame in frames
        if frame.get("type") in {"execution_error", "execution_interrupted"}
    ]


async def test_sockets_close_with_the_same_code(name, replayed):
    for step in load(name):
        if step.get("closed") == 1006:
            assert replayed.heard[step["kind"].removeprefix("ws:")].code == 1006


async def test_each_request_is_answered_with_the_same_status_and_shape(name, replayed):
    ids = set(replayed.ids) | set(replayed.ids.values())
    for answer in replayed.answers:
        request = f"{answer.step['request']} at {answer.step['t']}"
        assert answer.status == answer.step.get("status"), request
        if "body" in answer.step and not is_listing(answer.step):
            expected = shape(answer.step["body"], ids)
            assert {path for path in shape(answer.body, ids) ^ expected if path not in FREE_PATHS} == set(), request


def is_listing(step):
    """Whether it lists prompts: which ones is a matter of ms, and compared by prompt elsewhere."""
    path = step["request"]["path"].split("?")[0].removeprefix("/api")
    return step["request"]["method"] == "GET" and path.startswith(("/queue", "/history"))


async def test_submissions_are_numbered_the_same(name, replayed):
    for answer in replayed.answers:
        if answer.step["request"]["path"] == "/prompt" and answer.step.get("status") == 200 and "number" in answer.body:
            number, recorded = answer.body["number"], answer.step["body"]["number"]
            assert (number, type(number)) == (recorded, type(recorded))


async def test_queue_items_have_the_same_five_elements(name, replayed):
    for recorded, given in listings(replayed):
        if "queue_running" in recorded:
            theirs, ours = queue_items(recorded), queue_items(renamed(given, replayed.ids))
            for key in theirs.keys() & ours.keys():
                assert ours[key] == theirs[key]


def queue_items(body):
    """Items by what they are, with the order of outputs free."""
    items = defaultdict(list)
    for number, prompt_id, graph, extra_data, outputs in body["queue_running"] + body["queue_pending"]:
        items[prompt_id, number, str(graph)].append([type(number), extra_data, sorted(outputs)])
    return items


async def test_pending_prompts_are_listed_in_the_same_order(name, replayed):
    for recorded, given in listings(replayed):
        if "queue_running" in recorded:
            theirs, ours = keys(recorded["queue_pending"]), keys(renamed(given["queue_pending"], replayed.ids))
            if sorted(theirs) == sorted(ours):
                assert ours == theirs


def keys(items):
    return [(number, prompt_id, str(graph)) for number, prompt_id, graph, _, _ in items]


async def test_history_entries_have_the_same_shape_and_facts(name, replayed):
    ids = set(replayed.ids) | set(replayed.ids.values())
    for recorded, given in listings(replayed):
        if "queue_running" not in recorded:
            ours = renamed(given, replayed.ids)
            common = [prompt_id for prompt_id in recorded if prompt_id in ours]
            assert [prompt_id for prompt_id in ours if prompt_id in recorded] == common
            for prompt_id in common:
                assert shape(ours[prompt_id], ids) == shape(recorded[prompt_id], ids), prompt_id
                assert facts(ours[prompt_id]) == facts(recorded[prompt_id]), prompt_id


async def test_the_history_lists_the_same_prompts_in_the_end(name, replayed):
    steps = [step for step in load(name) if step["kind"] == "http" and step.get("status")]
    last_act = max((step["t"] for step in steps if step["request"]["method"] == "POST"), default=0)
    in_the_end = [step for step in steps if step["t"] > last_act and step["request"]["path"] == "/history"]
    queues = [
        step["body"] for step in steps if step["request"]["path"] == "/queue" and step["request"]["method"] == "GET"
    ]
    if in_the_end and "keys_with_numbers" not in in_the_end[-1] and queues and not queues[-1]["queue_pending"]:
        assert list(renamed(replayed.history_in_the_end, replayed.ids)) == list(in_the_end[-1]["body"])


def facts(entry):
    """What of an entry must be equal, not only alike."""
    number, prompt_id, graph, extra_data, outputs = entry["prompt"]
    return {
        "prompt": [number, prompt_id, graph, extra_data, sorted(outputs)],
        "status": [entry["status"]["status_str"], entry["status"]["completed"]],
        "messages": [
            [event, {key: data[key] for key in ("nodes", "exception_type", "executed") if key in data}]
            for event, data in entry["status"]["messages"]
        ],
        "outputs": {
            node_id: {kind: [media(item) for item in items] for kind, items in shown.items()}
            for node_id, shown in entry["outputs"].items()
        },
        "meta": entry["meta"],
    }


def media(item):
    """A file without the number in its name; a text counts as one."""
    if not isinstance(item, dict):
        return type(item).__name__
    return [item["type"], item["subfolder"], item["filename"].rpartition(".")[2]]


def listings(replayed):
    """Recorded and simulated bodies of requests that list prompts."""
    for answer in replayed.answers:
        if (
            is_listing(answer.step)
            and isinstance(answer.step.get("body"), dict)
            and "keys_with_numbers" not in answer.step
        ):
            yield answer.step["body"], answer.body
