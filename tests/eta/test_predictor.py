"""How long jobs should take, from what such jobs took before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.eta.predictor import RecentDurations
from comfyui_exporter.tracker.estimate import Estimate
from comfyui_exporter.tracker.observations import Details, Graph, GraphNode, HistoryEntry, Outcome
from comfyui_exporter.tracker.runs import Run, State


def graph(shape: str) -> Graph:
    return Graph({"1": GraphNode("Load")}, shape)


def run(
    took: float | None = None,
    *,
    shape: str | None = "x",
    job_type: str = "portrait",
    state: State = State.COMPLETED,
    executed: int = 3,
) -> Run:
    entry = None
    if took is not None:
        entry = HistoryEntry(
            "a", 0, Outcome.COMPLETED, started_ms=5_000, ended_ms=5_000 + int(took * 1000), nodes_executed=executed
        )
    details = Details(job_type=job_type, graph=None if shape is None else graph(shape))
    return Run("run1", "a", 0, state, details, 0, 0.0, entry=entry)


def learned(*runs: Run) -> RecentDurations:
    predictor = RecentDurations()
    for one in runs:
        predictor.learn(one)
    return predictor


def median(predictor: RecentDurations, of: Run) -> float | None:
    estimate = predictor.predict(of)
    return None if estimate is None else estimate.median


def test_nothing_is_predicted_before_anything_was_learned() -> None:
    assert RecentDurations().predict(run()) is None


def test_one_run_is_enough() -> None:
    assert learned(run(12.0)).predict(run()) == Estimate(12.0, 12.0, 12.0)


def test_nine_of_ten_runs_lie_between_low_and_high() -> None:
    predictor = learned(*(run(float(took)) for took in range(11)))
    assert predictor.predict(run()) == Estimate(1.0, 5.0, 9.0)


def test_the_same_graph_says_more_than_the_same_job_type() -> None:
    predictor = learned(run(10.0, shape="x"), run(50.0, shape="y"), run(52.0, shape="y"), run(54.0, shape="y"))
    assert median(predictor, run(shape="x")) == 10
    assert median(predictor, run(shape="y")) == 52


def test_a_graph_never_seen_is_predicted_by_its_job_type() -> None:
    predictor = learned(run(10.0, shape="x", job_type="portrait"), run(90.0, shape="y", job_type="video"))
    assert median(predictor, run(shape="z", job_type="video")) == 90
    assert median(predictor, run(shape=None, job_type="portrait")) == 10
    assert predictor.predict(run(shape="z", job_type="never seen")) is None


def test_a_job_type_that_is_named_like_a_shape_is_not_taken_for_it() -> None:
    assert learned(run(10.0, shape="x", job_type="t")).predict(run(shape=None, job_type="x")) is None


@pytest.mark.parametrize("state", [State.FAILED, State.INTERRUPTED, State.CANCELLED, State.LOST])
def test_runs_that_were_not_completed_teach_nothing(state: State) -> None:
    assert learned(run(10.0, state=state)).predict(run()) is None


def test_runs_without_a_duration_teach_nothing() -> None:
    assert learned(run(None)).predict(run()) is None
    assert learned(run(-5.0)).predict(run()) is None


def test_runs_that_came_whole_from_the_cache_teach_nothing() -> None:
    assert median(learned(run(10.0), run(0.01, executed=0)), run()) == 10


def test_a_server_that_became_faster_is_believed_soon() -> None:
    predictor = learned(*(run(100.0) for _ in range(500)), *(run(10.0) for _ in range(50)))
    assert predictor.predict(run()) == Estimate(10.0, 10.0, 10.0)


def test_what_was_learned_after_a_prediction_changes_the_next() -> None:
    predictor = learned(run(10.0))
    assert median(predictor, run()) == 10
    for _ in range(5):
        predictor.learn(run(30.0))
    assert median(predictor, run()) == 30


def test_shapes_are_bounded_and_those_not_used_for_long_go_first() -> None:
    predictor = learned(run(1.0, shape="first", job_type="a"))
    for i in range(1_500):
        predictor.learn(run(2.0, shape=f"s{i}", job_type="b"))
    assert predictor.predict(run(shape="first", job_type="c")) is None
    assert predictor.predict(run(shape="s0", job_type="c")) is None
    assert predictor.predict(run(shape="s1499", job_type="c")) is not None
    assert predictor.predict(run(shape="new", job_type="b")) is not None


def test_a_job_that_takes_no_time_still_has_an_estimate_to_divide_by() -> None:
    estimate = learned(run(0.0)).predict(run())
    assert estimate is not None
    assert estimate.median > 0
    assert estimate.high > 0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=80))
def test_an_estimate_is_in_order_and_within_what_was_seen(durations: list[float]) -> None:
    estimate = learned(*(run(took) for took in durations)).predict(run())
    assert estimate is not None
    assert 0 <= estimate.low <= estimate.median <= estimate.high
    assert estimate.high <= max(*durations, 1e-3)
