"""When each job of a queue will be done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.eta.forecast import Forecaster, remaining, still_needed
from comfyui_exporter.tracker.estimate import Estimate, Forecast
from comfyui_exporter.tracker.observations import Details
from comfyui_exporter.tracker.progress import Progress
from comfyui_exporter.tracker.runs import Run, State

TEN = Estimate(8.0, 10.0, 15.0)


class Told:
    """A predictor that says what it was told to say, and remembers what it was asked."""

    def __init__(self, unknown: tuple[str, ...] = (), seconds: float = 10.0) -> None:
        self.unknown = unknown
        self.seconds = seconds
        self.version = 0
        self.asked: list[tuple[str, str | None]] = []

    def started(self, run: Run) -> None:
        raise AssertionError

    def learn(self, run: Run) -> None:
        raise AssertionError

    def recall(self, run: Run) -> None:
        raise AssertionError

    def predict(self, run: Run, after: Run | None = None) -> Estimate | None:
        self.asked.append((run.run_id, None if after is None else after.run_id))
        seconds = self.seconds
        return None if run.run_id in self.unknown else Estimate(0.8 * seconds, seconds, 1.5 * seconds)


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


def forecast(runs: list[Run], at: float, *unknown: str) -> Forecast:
    return Forecaster(Told(unknown)).forecast(runs, at)


# One run


def test_what_just_started_needs_all_of_its_estimate() -> None:
    assert remaining(running(), TEN, 0.0) == pytest.approx(10.0)


def test_while_it_is_early_what_has_passed_is_what_need_not_pass_any_more() -> None:
    assert remaining(running(), TEN, 4.0) == pytest.approx(6.0, abs=0.1)


def test_the_end_that_is_foreseen_only_moves_away_while_nothing_is_heard() -> None:
    ends = [elapsed + still_needed(TEN, elapsed) for elapsed in range(60)]
    assert ends == sorted(ends)


def test_past_its_estimate_a_run_may_become_the_later_the_later_it_is() -> None:
    assert 1.5 < still_needed(TEN, 10.0) < 3
    assert 2 < still_needed(TEN, 15.0) < 4
    assert 100 < still_needed(TEN, 1_000.0) < 200


def test_a_run_that_is_never_late_is_not_about_to_end_at_this_very_moment_either() -> None:
    sure = Estimate(10.0, 10.0, 10.0)
    assert still_needed(sure, 9.0) == pytest.approx(1.0, abs=0.1)
    assert still_needed(sure, 10.0) > 0.3
    assert still_needed(sure, 100.0) > 3


def test_without_an_estimate_the_pace_counts() -> None:
    assert remaining(running(percent=25.0), None, 5.0) == 15


def test_without_either_nothing_is_known() -> None:
    assert remaining(running(), None, 5.0) is None
    assert remaining(running(percent=4.9), None, 5.0) is None


def test_the_further_a_run_is_the_more_its_own_pace_counts() -> None:
    by_estimate = still_needed(TEN, 8.0)
    assert remaining(running(percent=50.0), TEN, 8.0) == pytest.approx(0.5 * 8.0 + 0.5 * by_estimate)
    assert remaining(running(percent=90.0), TEN, 18.0) == pytest.approx(0.9 * 2.0 + 0.1 * still_needed(TEN, 18.0))


def test_a_percent_that_is_a_guess_from_the_time_says_nothing_new() -> None:
    assert remaining(running(percent=80.0, estimated=True), TEN, 4.0) == still_needed(TEN, 4.0)
    assert remaining(running(percent=80.0, estimated=True), None, 4.0) is None


def test_a_run_that_did_not_start_has_nothing_left_of_it() -> None:
    assert remaining(run("a"), TEN, 4.0) is None


def test_a_start_that_lies_ahead_is_now() -> None:
    assert remaining(running(started=9.0), TEN, 4.0) == pytest.approx(10.0)


@given(st.floats(0, 1e9), st.floats(0, 99), st.booleans(), st.floats(1e-3, 1e9), st.floats(1, 1e4))
def test_what_remains_is_never_negative(
    elapsed: float, percent: float, estimated: bool, median: float, width: float
) -> None:
    of = Estimate(median / width, median, median * width)
    left = remaining(running(0.0, percent, estimated=estimated), of, elapsed)
    assert left is not None
    assert left >= 0


# The queue


def test_an_empty_queue_is_drained() -> None:
    assert forecast([], 5.0) == Forecast({}, {}, 0.0, {})


def test_jobs_end_one_after_the_other() -> None:
    told = forecast([running(started=104.0), run("b"), run("c")], 104.0)
    assert told.ends == pytest.approx({"a": 114.0, "b": 124.0, "c": 134.0})
    assert told.positions == {"b": 1, "c": 2}
    assert told.drain_seconds == pytest.approx(30.0)
    assert told.seconds == pytest.approx({"a": 10.0, "b": 10.0, "c": 10.0})


def test_what_a_running_job_takes_in_all_is_what_has_passed_and_what_remains() -> None:
    told = forecast([run("a", State.PROCESSING, started=100.0, percent=50.0)], 108.0)
    assert told.seconds["a"] == pytest.approx(8.0 + (told.drain_seconds or 0.0))


def test_behind_a_job_without_an_estimate_no_end_is_known_but_the_places_are() -> None:
    told = forecast([run("a"), run("b"), run("c")], 100.0, "b")
    assert told.ends == {"a": 110.0}
    assert told.positions == {"a": 1, "b": 2, "c": 3}
    assert told.drain_seconds is None
    assert told.seconds == {"a": 10.0, "c": 10.0}


def test_nothing_known_of_what_runs_hides_the_ends_of_all() -> None:
    told = forecast([running(), run("b")], 100.0, "a")
    assert told == Forecast({}, {"b": 1}, None, {"b": 10.0})


def test_what_left_the_queue_takes_no_time_and_no_place() -> None:
    told = forecast([run("a", State.COMPLETING, started=0.0), run("b")], 100.0)
    assert told == Forecast({"b": 110.0}, {"b": 1}, 10.0, {"b": 10.0})


def test_without_estimates_a_queue_has_places_alone() -> None:
    assert forecast([run("a"), run("b")], 1.0, "a", "b") == Forecast({}, {"a": 1, "b": 2}, None, {})


def test_each_job_is_asked_for_as_the_one_after_the_job_ahead_of_it() -> None:
    told = Told()
    Forecaster(told).forecast([running(), run("b"), run("c")], 1.0)
    assert told.asked == [("a", None), ("b", "a"), ("c", "b")]


def test_what_just_left_the_queue_is_the_job_ahead_if_nothing_runs() -> None:
    told = Told()
    Forecaster(told).forecast([run("gone", State.COMPLETING), run("b")], 1.0)
    assert told.asked == [("b", "gone")]
    told.asked.clear()
    Forecaster(told).forecast([running(), run("gone", State.COMPLETING), run("b")], 1.0)
    assert told.asked == [("a", None), ("b", "a")]


# Again and again


def test_what_waits_is_not_worked_out_again_while_nothing_happens_to_it() -> None:
    told = Told()
    forecaster = Forecaster(told)
    waiting = [run("b"), run("c")]
    forecaster.forecast([running(started=0.0), *waiting], 0.0)
    told.asked.clear()
    later = forecaster.forecast([running(started=0.0, percent=50.0), *waiting], 8.0)
    assert told.asked == [("a", None)]
    # It moves with the job that runs all the same.
    assert later.ends["c"] - later.ends["a"] == pytest.approx(20.0)
    assert later.ends["a"] > 10.0


def test_news_of_any_kind_is_seen_at_once() -> None:
    told = Told()
    forecaster = Forecaster(told)
    first = [run("a", State.PROCESSING, started=0.0), run("b"), run("c")]
    forecaster.forecast(first, 0.0)
    # One more waits.
    assert "d" in forecaster.forecast([*first, run("d")], 0.0).ends
    # One was deleted.
    assert "c" not in forecaster.forecast(first[:2], 0.0).ends
    # Something was learned.
    told.seconds, told.version = 20.0, 1
    assert forecaster.forecast(first, 0.0).drain_seconds == pytest.approx(60.0)
    # Another one runs.
    told.asked.clear()
    forecaster.forecast([run("x", State.PROCESSING, started=0.0), *first[1:]], 0.0)
    assert ("b", "x") in told.asked
