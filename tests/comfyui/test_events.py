"""Frames of the event stream, good and bad."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui.recorded import frames
from comfyui_exporter.comfyui.events import EVENT_TYPES, MOST_NODES, OtherEvent, StatusEvent, read_frame
from comfyui_exporter.comfyui.json import PayloadError
from comfyui_exporter.tracker.observations import (
    ExecutionBegan,
    ExecutionOver,
    NodeHeard,
    NodesCached,
    NodesHeard,
    NodeState,
)

UNREAD = ("feature_flags", "some_extension.event", "")
EXECUTION = sorted(EVENT_TYPES - {"status", "feature_flags"})
RUNNING, FINISHED = NodeState.RUNNING, NodeState.FINISHED


def status(remaining: object) -> str:
    return (
        f'{{"type": "status", "data": {{"status": {{"exec_info": {{"queue_remaining": {remaining}}}}}, "sid": "x"}}}}'
    )


def event(kind: str, **data: Any) -> Any:
    """What a frame of that type and data says, heard at 7."""
    told, said = read_frame(json.dumps({"type": kind, "data": data}), 7.0)
    assert told == kind
    return said


@pytest.mark.parametrize("remaining", [0, 1, 2**63 - 1])
def test_a_status_frame_tells_how_many_jobs_there_are(remaining: int) -> None:
    assert read_frame(status(remaining)) == ("status", StatusEvent(remaining))
    assert read_frame(status(remaining).encode()) == ("status", StatusEvent(remaining))


@pytest.mark.parametrize("remaining", [-1, 2**63, "9" * 30, "9" * 5_000, "null", "true", '"2"', "1.5", "NaN", "[]"])
def test_a_status_frame_without_a_number_of_jobs_is_refused(remaining: object) -> None:
    with pytest.raises(PayloadError):
        read_frame(status(remaining))


@pytest.mark.parametrize(
    "data", ["null", "5", "[]", "{}", '{"status": null}', '{"status": {}}', '{"status": {"exec_info": 5}}']
)
def test_a_status_frame_of_another_shape_is_refused(data: str) -> None:
    with pytest.raises(PayloadError):
        read_frame(f'{{"type": "status", "data": {data}}}')


@pytest.mark.parametrize("kind", UNREAD)
@pytest.mark.parametrize("data", ["null", "5", "{}", '{"x": NaN}', "[" * 5_000 + "]" * 5_000])
def test_types_that_are_not_read_are_told_whatever_they_carry(kind: str, data: str) -> None:
    assert read_frame(f'{{"type": "{kind}", "data": {data}}}') == (kind, OtherEvent(kind))


def test_data_may_be_absent() -> None:
    assert read_frame('{"type": "some_extension.event"}') == (
        "some_extension.event",
        OtherEvent("some_extension.event"),
    )


def test_the_type_is_bounded() -> None:
    assert read_frame(json.dumps({"type": "x" * 10_000})) == ("x" * 100, OtherEvent("x" * 100))


@pytest.mark.parametrize("frame", [r'{"type": "a\ud800"}', b'{"type": "a\xff"}'])
def test_a_type_that_cannot_be_written_is_told_with_a_replacement(frame: str | bytes) -> None:
    kind, said = read_frame(frame)
    assert said == OtherEvent("a\ufffd")
    assert kind.encode()


@pytest.mark.parametrize(
    "frame", ["", "x", "null", "5", "[]", "{}", '{"type": 5}', '{"type": null}', "{", "[" * 100_000, b"\xff"]
)
def test_what_is_no_event_is_refused(frame: str | bytes) -> None:
    with pytest.raises(PayloadError):
        read_frame(frame)


@given(st.text(st.characters(codec=None), max_size=40) | st.binary(max_size=40))
def test_any_frame_is_read_or_refused(frame: str | bytes) -> None:
    with suppress(PayloadError):
        repr(read_frame(frame)).encode()


# What an executing job does


def test_every_recorded_frame_is_read_and_those_of_jobs_tell_of_them() -> None:
    read = 0
    for frame in frames():
        kind, said = read_frame(json.dumps(frame), 7.0)
        assert kind == frame["type"]
        blocked = frame["data"].get("exception_type") == "ExecutionBlocked"
        if kind in EXECUTION and "prompt_id" in frame["data"] and not blocked:
            assert not isinstance(said, OtherEvent | StatusEvent)
            assert (said.at, said.prompt_id) == (7.0, frame["data"]["prompt_id"])
            read += 1
    assert read > 1_000


def test_a_job_begins_with_its_execution_start() -> None:
    assert event("execution_start", prompt_id="a", timestamp=5) == ExecutionBegan(7.0, "a")


def test_the_nodes_that_come_from_the_cache_are_told() -> None:
    assert event("execution_cached", prompt_id="a", nodes=["1", "2"]) == NodesCached(7.0, "a", ("1", "2"))
    assert event("execution_cached", prompt_id="a", nodes=[None, {}, "", "2"]) == NodesCached(7.0, "a", ("2",))


def test_an_empty_prompt_id_is_one_like_any_other() -> None:
    assert event("execution_start", prompt_id="") == ExecutionBegan(7.0, "")


@pytest.mark.parametrize("kind", ["execution_success", "execution_error", "execution_interrupted"])
def test_an_end_is_told_without_saying_which(kind: str) -> None:
    assert event(kind, prompt_id="a", exception_type="ValueError") == ExecutionOver(7.0, "a")


def test_the_error_of_a_blocked_node_is_no_end() -> None:
    said = event("execution_error", prompt_id="a", node_id="3", exception_type="ExecutionBlocked")
    assert said == OtherEvent("execution_error")


def test_executing_without_a_node_is_the_end() -> None:
    assert event("executing", prompt_id="a", node=None) == ExecutionOver(7.0, "a")
    assert event("executing", prompt_id="a", node="3") == NodesHeard(7.0, "a", (NodeHeard("3", RUNNING),))


@pytest.mark.parametrize("data", [{"node": "3"}, {"node": "3", "prompt_id": None}])
def test_what_names_no_job_tells_of_none(data: dict[str, Any]) -> None:
    assert event("executing", **data) == OtherEvent("executing")


def test_an_executed_node_is_finished() -> None:
    assert event("executed", prompt_id="a", node="3", output=None) == NodesHeard(7.0, "a", (NodeHeard("3", FINISHED),))


def test_progress_tells_the_steps_of_one_node() -> None:
    said = event("progress", prompt_id="a", node="3", value=4, max=20)
    assert said == NodesHeard(7.0, "a", (NodeHeard("3", RUNNING, 4.0, 20.0),))


def node(**parts: Any) -> dict[str, Any]:
    return {"value": 1, "max": 1, "state": "finished", "prompt_id": "a", **parts}


def test_progress_state_tells_all_nodes_and_ignores_what_newer_versions_add() -> None:
    nodes = {
        "1": node(real_node_id="1", activity=None),
        "2": node(value=3, max=20, state="running", real_node_id="2", activity="loading"),
        "5": node(state="a state of later", activity={"x": [1]}),
        "6": None,
    }
    assert event("progress_state", prompt_id="a", nodes=nodes) == NodesHeard(
        7.0,
        "a",
        (
            NodeHeard("1", FINISHED, 1.0, 1.0, "1"),
            NodeHeard("2", RUNNING, 3.0, 20.0, "2"),
            NodeHeard("5", RUNNING, 1.0, 1.0),
        ),
        whole=True,
    )


@pytest.mark.parametrize(
    "outer", [{"real_node_id": "4"}, {"display_node_id": "4"}, {"real_node_id": None, "display_node_id": "4"}]
)
def test_a_node_of_an_expanded_subgraph_names_the_one_it_stands_for(outer: dict[str, Any]) -> None:
    said = event("progress_state", prompt_id="a", nodes={"4.0.0.1": node(**outer)})
    assert said.nodes == (NodeHeard("4.0.0.1", FINISHED, 1.0, 1.0, "4"),)


@pytest.mark.parametrize(
    ("value", "most", "steps"),
    [
        (30, 20, (20.0, 20.0)),
        (-1, 20, (0.0, 1.0)),
        (1, 0, (0.0, 1.0)),
        (1, -5, (0.0, 1.0)),
        (1, 10**15, (0.0, 1.0)),
        (10**400, 10**400, (0.0, 1.0)),
        ("3", "20", (0.0, 1.0)),
        (True, True, (0.0, 1.0)),
        (None, None, (0.0, 1.0)),
        ([], {}, (0.0, 1.0)),
        (0.5, 2.5, (0.5, 2.5)),
    ],
)
def test_absurd_steps_are_none(value: object, most: object, steps: tuple[float, float]) -> None:
    try:
        said = event("progress", prompt_id="a", node="3", value=value, max=most)
    except PayloadError:
        assert value == 10**400  # such a number is no JSON that we read
        return
    assert (said.nodes[0].value, said.nodes[0].max) == steps


def test_a_frame_of_endless_nodes_is_cut() -> None:
    many = {str(i): node() for i in range(MOST_NODES + 10)}
    assert len(event("progress_state", prompt_id="a", nodes=many).nodes) == MOST_NODES
    assert len(event("execution_cached", prompt_id="a", nodes=list(many)).nodes) == MOST_NODES


@pytest.mark.parametrize("kind", EXECUTION)
@pytest.mark.parametrize(
    "data", ["null", "5", "[]", '"x"', '{"prompt_id": 5}', '{"prompt_id": []}', "[" * 5_000 + "]" * 5_000]
)
def test_an_execution_event_of_another_shape_is_refused(kind: str, data: str) -> None:
    with pytest.raises(PayloadError):
        read_frame(f'{{"type": "{kind}", "data": {data}}}')


@pytest.mark.parametrize("nodes", ["null", "5", '"x"', "[]", '{"1": 5}', '{"1": {}}', '{"1": {"state": 5}}'])
def test_a_progress_state_of_other_nodes_is_refused(nodes: str) -> None:
    with pytest.raises(PayloadError):
        read_frame(f'{{"type": "progress_state", "data": {{"prompt_id": "a", "nodes": {nodes}}}}}')


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("prompt_id", "node", "nodes", "value", "max", "exception_type", "node_id")
NODE_FIELDS = ("value", "max", "state", "real_node_id", "display_node_id", "activity")


@given(
    st.sampled_from(EXECUTION),
    ANYTHING
    | st.dictionaries(st.sampled_from(FIELDS), ANYTHING)
    | st.fixed_dictionaries(
        {
            "prompt_id": st.text(st.characters(codec=None), min_size=1, max_size=5),
            "nodes": st.dictionaries(
                st.text(st.characters(codec=None), max_size=5), st.dictionaries(st.sampled_from(NODE_FIELDS), ANYTHING)
            ),
        }
    ),
)
def test_an_execution_event_with_anything_in_it_is_read_or_refused(kind: str, data: object) -> None:
    with suppress(PayloadError):
        told, said = read_frame(json.dumps({"type": kind, "data": data}), 7.0)
        repr((told, said)).encode()
        if isinstance(said, NodesHeard):
            assert all(0 <= (heard.value or 0) <= heard.max for heard in said.nodes)
