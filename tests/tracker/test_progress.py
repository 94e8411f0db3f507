"""How far a run has come, and how long its nodes took, from what was heard of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.tracker.hearing import Hearing
from comfyui_exporter.tracker.observations import (
    Details,
    EventsMissed,
    ExecutionBegan,
    ExecutionOver,
    Graph,
    GraphNode,
    HistoryEntry,
    HistoryLookup,
    NodeHeard,
    NodesCached,
    NodesHeard,
    NodeState,
    Outcome,
    QueueItem,
    QueueRead,
    Tick,
)
from comfyui_exporter.tracker.progress import NEARLY, NodeCosts, RunProgress, Timed
from comfyui_exporter.tracker.tracker import Tracker
from comfyui_exporter.tracker.transitions import Ended, NodeTimed, Progressed

RUNNING, FINISHED = NodeState.RUNNING, NodeState.FINISHED

CHAIN = Graph(
    {
        "1": GraphNode("Load"),
        "2": GraphNode("Encode", ("1",)),
        "3": GraphNode("Decode", ("2",)),
        "4": GraphNode("Save", ("3",)),
    },
    "chain",
)
SAMPLING = Graph(
    {"1": GraphNode("Load"), "2": GraphNode("KSampler", ("1",)), "3": GraphNode("Save", ("2",))}, "sampling"
)


def heard(graph: Graph | None = CHAIN, *, costs: NodeCosts | None = None, since_start: bool = True) -> RunProgress:
    return RunProgress(graph, costs or NodeCosts(), since_start=since_start)


def state(at: float, **nodes: tuple[str, float, float]) -> NodesHeard:
    """A `progress_state`; a node is named `n1` and given as (state, value, max)."""
    told = (
        NodeHeard(name[1:].replace("_", "."), NodeState(now), value, most, name[1:].split("_")[0])
        for name, (now, value, most) in nodes.items()
    )
    return NodesHeard(at, "a", tuple(told), whole=True)


def executing(at: float, node_id: str) -> NodesHeard:
    return NodesHeard(at, "a", (NodeHeard(node_id, RUNNING),))


def executed(at: float, node_id: str) -> NodesHeard:
    return NodesHeard(at, "a", (NodeHeard(node_id, FINISHED),))


def stepped(at: float, node_id: str, value: float, most: float) -> NodesHeard:
    return NodesHeard(at, "a", (NodeHeard(node_id, RUNNING, value, most),))


def timed(progress: RunProgress, *events: NodesHeard) -> list[Timed]:
    return [sample for event in events for sample in progress.hear(event)]


def percent(progress: RunProgress, at: float = 0.0) -> float:
    return progress.now(at, 0.0).percent


RUN = ("running", 0.0, 1.0)
DONE = ("finished", 1.0, 1.0)


# The percent


def test_nothing_is_done_of_a_run_of_which_nothing_was_heard() -> None:
    assert percent(heard()) == 0


def test_without_anything_learned_nodes_weigh_the_same() -> None:
    progress = heard()
    timed(progress, state(1, n1=DONE))
    assert percent(progress) == 25


def test_whatever_a_running_node_takes_its_inputs_from_is_done() -> None:
    progress = heard()
    timed(progress, executing(1, "4"))
    assert percent(progress) == 75


def test_a_finished_node_proves_the_same() -> None:
    progress = heard()
    timed(progress, executed(1, "3"))
    assert percent(progress) == 75


def test_cached_nodes_are_done() -> None:
    progress = heard()
    progress.hear_cached(NodesCached(1, "a", ("1", "2")))
    assert percent(progress) == 50


def test_cached_nodes_that_are_not_in_the_graph_change_nothing() -> None:
    progress = heard()
    progress.hear_cached(NodesCached(1, "a", ("77", "78")))
    assert percent(progress) == 0


def test_the_steps_of_a_node_are_parts_of_it() -> None:
    progress = heard()
    timed(progress, state(1, n1=DONE, n2=("running", 10, 20)))
    assert percent(progress) == 37.5


def test_a_sampler_weighs_more_before_anything_was_learned() -> None:
    progress = heard(SAMPLING)
    timed(progress, state(1, n1=DONE, n2=("running", 10, 20)))
    assert percent(progress) == pytest.approx(100 * (1 + 10) / 22, abs=0.1)


def test_what_was_learned_gives_the_weights() -> None:
    costs = NodeCosts()
    for node_type, seconds in (("Load", 6.0), ("KSampler", 3.0), ("Save", 1.0)):
        costs.learn(node_type, seconds)
    progress = heard(SAMPLING, costs=costs)
    timed(progress, state(1, n1=DONE))
    assert percent(progress) == 60


def test_a_class_that_was_never_timed_weighs_what_others_do_on_average() -> None:
    costs = NodeCosts()
    costs.learn("Load", 2.0)
    costs.learn("Save", 4.0)
    assert costs.weights(["Load", "Save", "New"]) == [2.0, 4.0, 3.0]


def test_late_durations_count_more_than_early_ones() -> None:
    costs = NodeCosts()
    for _ in range(50):
        costs.learn("Load", 10.0)
    for _ in range(10):
        costs.learn("Load", 1.0)
    assert (costs.known("Load") or 0) < 1.5


def test_classes_are_bounded() -> None:
    costs = NodeCosts()
    for i in range(5_000):
        costs.learn(f"c{i}", 1.0)
    assert sum(costs.known(f"c{i}") is not None for i in range(5_000)) == 2_000


def test_a_node_without_steps_grows_with_the_time_that_it_usually_takes() -> None:
    costs = NodeCosts()
    for node_type in ("Load", "Encode", "Decode", "Save"):
        costs.learn(node_type, 10.0)
    progress = heard(costs=costs)
    timed(progress, state(100, n1=RUN))
    assert percent(progress, 105) == 12.5
    assert percent(progress, 1_000) == 22.5  # never as if it were done


def test_it_stays_below_100_whatever_is_done() -> None:
    progress = heard()
    timed(progress, state(1, n1=DONE, n2=DONE, n3=DONE, n4=DONE))
    assert percent(progress) == NEARLY


def test_it_is_never_less_than_it_was() -> None:
    assert heard().now(1, 40.0).percent == 40


def test_without_a_graph_there_is_no_percent_but_a_step() -> None:
    progress = heard(None)
    timed(progress, stepped(1, "2", 3, 20))
    now = progress.now(1, 0.0)
    assert (now.percent, now.estimated, now.step, now.steps) == (0, True, 3, 20)


def test_a_graph_that_comes_later_counts_for_what_was_heard_before() -> None:
    progress = heard(None)
    timed(progress, executing(1, "3"))
    progress.learn_graph(CHAIN)
    now = progress.now(1, 0.0)
    assert (now.percent, now.estimated) == (50, False)
    assert now.node is not None
    assert now.node.node_type == "Decode"


def test_the_nodes_of_a_subgraph_are_parts_of_the_one_that_they_stand_for() -> None:
    progress = heard()
    timed(progress, state(1, n1=DONE, n2=RUN))
    assert percent(progress) == 25
    timed(progress, state(2, n1=DONE, n2=RUN, n2_0_0_1=DONE, n2_0_0_2=("running", 2, 4)))
    now = progress.now(2, 0.0)
    assert 25 < now.percent < 50
    assert now.node is not None
    assert (now.node.node_id, now.node.node_type, now.step) == ("2", "Encode", 2)
    timed(progress, state(3, n1=DONE, n2=DONE, n2_0_0_1=DONE, n2_0_0_2=("finished", 4, 4)))
    assert percent(progress) == 50


def test_a_run_that_is_over_tells_no_other_node_than_the_last() -> None:
    progress = heard()
    timed(progress, state(1, n1=DONE, n4=RUN), state(2, n1=DONE, n4=DONE))
    now = progress.now(2, 0.0)
    assert now.node is not None
    assert now.node.node_id == "4"
    assert (now.step, now.steps) == (0, 0)


def test_a_flood_of_nodes_is_bounded() -> None:
    progress = heard()
    for start in range(0, 40_000, 10_000):
        nodes = tuple(NodeHeard(str(start + i), RUNNING, 0.0, 1.0) for i in range(10_000))
        timed(progress, NodesHeard(1, "a", nodes, whole=True))
        progress.hear_cached(NodesCached(1, "a", tuple(f"c{start + i}" for i in range(10_000))))
    assert len(progress.report(1)) < 10_000


NODE = st.sampled_from(["1", "2", "3", "4", "2.0.0.1", "2.0.0.2", "9"])
STEPS = st.tuples(st.none() | st.floats(0, 30), st.floats(1, 30))


@st.composite
def node_heard(draw: st.DrawFn) -> NodeHeard:
    node_id = draw(NODE)
    value, most = draw(STEPS)
    value = None if value is None else min(value, most)
    return NodeHeard(node_id, draw(st.sampled_from([RUNNING, FINISHED])), value, most, node_id.split(".")[0])


@st.composite
def event(draw: st.DrawFn) -> object:
    kind = draw(st.integers(0, 8))
    if kind <= 3:
        nodes = draw(st.lists(node_heard(), max_size=5))
        told = tuple(NodeHeard(n.node_id, n.state, n.value or 0.0, n.max, n.outer) for n in nodes)
        return NodesHeard(0, "a", told, whole=True)
    if kind <= 5:
        return NodesHeard(0, "a", (draw(node_heard()),))
    return draw(
        st.sampled_from(
            [
                ExecutionBegan(0, "a"),
                NodesCached(0, "a", ("1", "9")),
                ExecutionOver(0, "a"),
                EventsMissed(0),
                Tick(0),
                NodesHeard(0, "a", (), whole=True),
            ]
        )
    )


@given(st.lists(st.tuples(st.floats(0, 50), event()), max_size=30))
def test_whatever_is_heard_the_percent_never_goes_backwards(events: Sequence[tuple[float, object]]) -> None:
    tracker = Tracker(lambda: "run1", lambda *_: "unknown")
    tracker.apply(QueueRead(0, (QueueItem("a", 0, Details(graph=CHAIN)),), ()))
    at, least = 0.0, 0.0
    for wait, observation in events:
        at += wait
        values = {name: getattr(observation, name) for name in observation.__dataclass_fields__}  # type: ignore[attr-defined]
        changes = tracker.apply(type(observation)(**{**values, "at": at}))  # type: ignore[arg-type]
        (run,) = tracker.open_runs
        assert least <= run.progress.percent <= NEARLY
        least = run.progress.percent
        for change in changes:
            if isinstance(change, NodeTimed):
                assert change.timed.seconds >= 0
                assert math.isfinite(change.timed.seconds)
            elif isinstance(change, Progressed):
                assert change.run.progress == run.progress
        tracker.nodes_of(run, at)
    (ended,) = (
        change
        for change in tracker.apply(HistoryLookup(at, "a", HistoryEntry("a", 0, Outcome.COMPLETED, started_ms=1)))
        if isinstance(change, Ended)
    )
    tracker.nodes_of(ended.run, at)


# Durations


def test_a_node_is_timed_from_its_beginning_to_its_end() -> None:
    progress = heard()
    assert timed(progress, state(10, n1=RUN)) == []
    assert timed(progress, state(13, n1=DONE)) == [Timed("Load", 3)]
    assert timed(progress, state(14, n1=DONE)) == []


def test_on_a_server_without_progress_state_the_next_node_ends_the_one_before() -> None:
    progress = heard()
    samples = timed(progress, executing(10, "1"), executing(13, "2"), executed(18, "2"), executing(18, "3"))
    assert samples == [Timed("Load", 3), Timed("Encode", 5)]


def test_with_progress_state_other_events_tell_no_ends() -> None:
    progress = heard()
    samples = timed(progress, state(10, n1=RUN), executing(10.1, "1"), executing(12, "2"), state(13, n1=DONE, n2=RUN))
    assert samples == [Timed("Load", 3)]


def test_a_node_whose_beginning_was_not_heard_is_not_timed() -> None:
    progress = heard(since_start=False)
    assert timed(progress, state(10, n1=RUN), state(13, n1=DONE)) == []


def test_one_that_begins_after_the_first_whole_event_is() -> None:
    progress = heard(since_start=False)
    samples = timed(
        progress, state(10, n1=RUN), state(13, n1=DONE), state(14, n1=DONE, n2=RUN), state(16, n1=DONE, n2=DONE)
    )
    assert samples == [Timed("Encode", 2)]


def test_a_gap_gives_no_sample() -> None:
    progress = heard(SAMPLING)
    timed(progress, state(10, n1=DONE, n2=("running", 1, 20)), state(11, n1=DONE, n2=("running", 2, 20)))
    progress.missed()
    assert timed(progress, state(50, n1=DONE, n2=("running", 9, 20))) == []
    assert timed(progress, state(51, n1=DONE, n2=("running", 10, 20))) == [Timed("KSampler", 1, 1)]
    assert timed(progress, state(60, n1=DONE, n2=("finished", 10, 20))) == []


def test_a_gap_hides_what_began_in_it() -> None:
    progress = heard()
    timed(progress, state(10, n1=RUN))
    progress.missed()
    assert timed(progress, state(50, n1=DONE, n2=RUN), state(60, n1=DONE, n2=DONE)) == []


def test_the_first_step_is_not_timed() -> None:
    progress = heard(SAMPLING)
    begin = state(10, n2=("running", 0, 20))
    assert timed(progress, begin, state(40, n2=("running", 1, 20))) == []  # the model was loaded as well
    assert timed(progress, state(42, n2=("running", 2, 20))) == [Timed("KSampler", 2, 1)]


def test_several_steps_in_one_event_are_timed_together() -> None:
    progress = heard(SAMPLING)
    timed(progress, state(10, n2=("running", 1, 20)), state(11, n2=("running", 2, 20)))
    assert timed(progress, state(21, n2=("running", 7, 20))) == [Timed("KSampler", 2, 5)]


def test_the_same_step_told_twice_is_one() -> None:
    progress = heard(SAMPLING)
    events = [
        event for at in range(1, 5) for event in (state(at, n2=("running", at, 20)), stepped(at + 0.5, "2", at, 20))
    ]
    assert timed(progress, *events) == [Timed("KSampler", 1, 1)] * 2


def test_a_second_pass_begins_with_a_step_that_is_not_timed() -> None:
    progress = heard(SAMPLING)
    timed(progress, *(state(at, n2=("running", at, 3)) for at in range(4)))
    assert timed(progress, state(30, n2=("running", 1, 3))) == []
    assert timed(progress, state(31, n2=("running", 2, 3))) == [Timed("KSampler", 1, 1)]


def test_the_end_of_a_node_that_left_out_steps_times_none() -> None:
    progress = heard(SAMPLING)
    timed(progress, *(state(at, n2=("running", at, 20)) for at in range(4)))
    assert timed(progress, state(3.5, n2=("finished", 20, 20))) == [Timed("KSampler", 3.5)]


def test_a_clock_that_went_back_gives_no_negative_duration() -> None:
    progress = heard()
    assert timed(progress, state(10, n1=RUN), state(9, n1=DONE)) == [Timed("Load", 0)]


def test_nodes_of_a_subgraph_have_no_class_and_are_not_timed() -> None:
    progress = heard()
    assert timed(progress, state(1, n2_0_0_1=RUN), state(2, n2_0_0_1=DONE)) == []


# A second run of the same prompt_id


def test_another_run_of_the_same_id_has_not_touched_what_the_first_finished() -> None:
    progress = heard()
    timed(progress, state(1, n1=DONE, n2=RUN))
    assert progress.restarts_with(state(2, n1=RUN)) is False
    assert progress.restarts_with(state(2, n2=RUN)) is True
    assert progress.restarts_with(state(2)) is True
    assert progress.restarts_with(executing(2, "2")) is False


def test_the_second_run_starts_from_nothing() -> None:
    hearing = Hearing()
    hearing.hear(state(1, n1=DONE, n2=RUN))
    first = hearing.progress_of("a")
    hearing.hear(state(2, n2=RUN))
    second = hearing.progress_of("a")
    assert second is not None
    assert second is not first
    second.learn_graph(CHAIN)
    assert {node.node_id: node.state for node in second.report(2)}["3"] == "pending"


def test_execution_start_begins_anew_too() -> None:
    hearing = Hearing()
    hearing.hear(executing(1, "2"))
    first = hearing.progress_of("a")
    hearing.hear(ExecutionBegan(2, "a"))
    assert hearing.progress_of("a") is not first


def test_what_comes_after_a_gap_is_not_known_from_its_beginning() -> None:
    hearing = Hearing()
    hearing.miss(EventsMissed(0))
    assert hearing.hear(state(1, n1=RUN)) == []
    progress = hearing.progress_of("a")
    assert progress is not None
    progress.learn_graph(CHAIN)
    assert hearing.hear(state(2, n1=DONE)) == []
    assert hearing.heard_at("a") == 2
    hearing.miss(EventsMissed(3))
    assert hearing.heard_at("a") is None


# The report


def test_the_report_gives_every_node_those_of_the_graph_first() -> None:
    progress = heard()
    progress.hear_cached(NodesCached(9, "a", ("1",)))
    timed(
        progress,
        state(10, n2=RUN),
        state(12, n2=DONE, n3=("running", 0, 8)),
        state(13, n2=DONE, n3=("running", 2, 8), n3_0_0_1=RUN),
    )
    told = [
        (node.node_id, node.node_type, node.state, node.value, node.max, node.seconds) for node in progress.report(15)
    ]
    assert sorted(told[:4]) == [
        ("1", "Load", "cached", 1, 1, None),
        ("2", "Encode", "finished", 1, 1, 2),
        ("3", "Decode", "running", 2, 8, 3),
        ("4", "Save", "pending", 0, 1, None),
    ]
    assert told[4:] == [("3.0.0.1", None, "running", 0, 1, 2)]
