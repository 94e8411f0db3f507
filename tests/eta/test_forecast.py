"""When each job of a queue will be done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.eta.forecast import forecast, remaining
from comfyui_exporter.tracker.estimate import Estimate, Forecast
from comfyui_exporter.tracker.observations import Details
from comfyui_exporter.tracker.progress import Progress
from comfyui_exporter.tracker.runs import Run, State

TEN = Estimate(8.0, 10.0, 15.0)


def run(
    run_id: str,
    state: State = State.QUEUED,
    *,
    started: float | None = None,
    percent: float = 0.0,
    estimated: bool = False,
) -> Run:
    progress = Progress(percent, estimated=estimated)
    return Run(run_id, run_id, 0, state, Details(), 0, 0.0, started_at=started, progress=progress)


def running(started: float = 0.0, percent: float = 0.0, *, estimated: bool = False) -> Run:
    return run("a", State.PROCESSING, started=started, percent=percent, estimated=estimated)


def ten(_run: Run) -> Estimate:
    return TEN


def nothing(_run: Run) -> None:
    return None


# One run


def test_without_progress_the_estimate_alone_counts() -> None:
    assert remaining(running(), TEN, 4.0) == 6


def test_past_its_estimate_a_run_is_not_about_to_end_at_this_very_moment() -> None:
    assert remaining(running(), TEN, 10.0) == 0.5
    assert remaining(running(), TEN, 1_000.0) == 0.5


def test_without_an_estimate_the_pace_counts() -> None:
    assert remaining(running(percent=25.0), None, 5.0) == 15


def test_without_either_nothing_is_known() -> None:
    assert remaining(running(), None, 5.0) is None
    assert remaining(running(percent=4.9), None, 5.0) is None


def test_the_further_a_run_is_the_more_its_own_pace_counts() -> None:
    assert remaining(running(percent=50.0), TEN, 8.0) == pytest.approx(0.5 * 8.0 + 0.5 * 2.0)
    assert remaining(running(percent=90.0), TEN, 18.0) == pytest.approx(0.9 * 2.0 + 0.1 * 0.5)


def test_a_percent_that_is_a_guess_from_the_time_says_nothing_new() -> None:
    assert remaining(running(percent=80.0, estimated=True), TEN, 4.0) == 6
    assert remaining(running(percent=80.0, estimated=True), None, 4.0) is None


def test_a_run_that_did_not_start_has_nothing_left_of_it() -> None:
    assert remaining(run("a"), TEN, 4.0) is None


def test_a_start_that_lies_ahead_is_now() -> None:
    assert remaining(running(started=9.0), TEN, 4.0) == 10


@given(st.floats(0, 1e6), st.floats(0, 99), st.booleans(), st.floats(1e-3, 1e6))
def test_what_remains_is_never_negative(elapsed: float, percent: float, estimated: bool, median: float) -> None:
    left = remaining(running(0.0, percent, estimated=estimated), Estimate(0.0, median, median), elapsed)
    assert left is not None
    assert left >= 0


# The queue


def test_an_empty_queue_is_drained() -> None:
    assert forecast([], ten, 5.0) == Forecast({}, {}, 0.0)


def test_jobs_end_one_after_the_other() -> None:
    told = forecast([running(started=100.0), run("b"), run("c")], ten, 104.0)
    assert told == Forecast({"a": 110.0, "b": 120.0, "c": 130.0}, {"b": 1, "c": 2}, 26.0)


def test_behind_a_job_without_an_estimate_no_end_is_known_but_the_places_are() -> None:
    told = forecast([run("a"), run("b"), run("c")], lambda one: None if one.run_id == "b" else TEN, 100.0)
    assert told == Forecast({"a": 110.0}, {"a": 1, "b": 2, "c": 3}, None)


def test_nothing_known_of_what_runs_hides_the_ends_of_all() -> None:
    told = forecast([running(), run("b")], lambda one: None if one.run_id == "a" else TEN, 100.0)
    assert told == Forecast({}, {"b": 1}, None)


def test_what_left_the_queue_takes_no_time_and_no_place() -> None:
    told = forecast([run("a", State.COMPLETING, started=0.0), run("b")], ten, 100.0)
    assert told == Forecast({"b": 110.0}, {"b": 1}, 10.0)


def test_without_estimates_a_queue_has_places_alone() -> None:
    assert forecast([run("a"), run("b")], nothing, 1.0) == Forecast({}, {"a": 1, "b": 2}, None)
