"""Whatever is lost, doubled, renamed or falls is found, and nothing else is complained of."""

from __future__ import annotations

from collections import Counter

import pytest

from ledger import Journal, Reported
from prometheus_server import Series
from simulator.bench import Bench
from survival.verdict import judge


@pytest.fixture
def world(monkeypatch):
    """Three completed jobs of one type, and one that was deleted as it waited."""
    bench = Bench()
    journal = Journal(bench.comfy.ledger, monkeypatch)
    for name in "abc":
        bench.run(prompt_id=name, extra_data={"job_type": "image"})
    bench.submit(prompt_id="d", extra_data={"job_type": "image"})
    bench.comfy.queue().delivered()
    bench.comfy.history().delivered()
    bench.comfy.clear_pending()
    for run in bench.comfy.ledger.runs:
        run.before_first_history = False
    return journal


def row(prompt_id, status="completed", job_type="image", run_id=None):
    return {
        "run_id": run_id or f"run of {prompt_id}",
        "comfyui_prompt_id": prompt_id,
        "status": status,
        "job_type": job_type,
    }


ROWS = [row("a"), row("b"), row("c"), row("d", "cancelled")]


def sampled(name, *values, **labels):
    return Series({"__name__": name, **labels}, tuple((float(at), float(value)) for at, value in enumerate(values)))


def all_series(*completed):
    return [
        sampled("comfyui_jobs_submitted_total", 0, 4, job_type="image"),
        sampled("comfyui_jobs_total", *completed, job_type="image", status="completed"),
        sampled("comfyui_jobs_total", 0, 1, job_type="image", status="cancelled"),
        sampled("comfyui_job_duration_seconds_count", *completed, job_type="image", status="completed"),
        sampled("comfyui_restarts_total", 0, 0),
    ]


def reported(completed=3, cancelled=1, submitted=4):
    ended = Counter({("image", "completed"): completed, ("image", "cancelled"): cancelled})
    return Reported(Counter({"image": submitted}), ended, 0)


def test_the_truth_is_not_complained_of(world):
    verdict = judge(world, reported(), ROWS, all_series(0, 2, 3))
    assert verdict.problems() == []
    assert (verdict.lost, verdict.double) == (0, 0)


def test_a_job_that_is_missing_is_lost_and_named(world):
    verdict = judge(world, reported(completed=2, submitted=3), ROWS[1:], all_series(0, 2))
    assert (verdict.lost, verdict.double, verdict.offenders) == (1, 0, ["a"])
    assert verdict.metrics
    assert verdict.samples


def test_a_job_that_is_told_twice_is_double_and_named(world):
    verdict = judge(world, reported(completed=4, submitted=5), [*ROWS, row("b", run_id="another")], all_series(0, 4))
    assert (verdict.lost, verdict.double, verdict.offenders) == (0, 1, ["b"])
    assert verdict.metrics


@pytest.mark.parametrize("wrong", [row("a", "failed"), row("a", job_type="video"), row("a", "processing")])
def test_a_job_that_is_told_as_what_it_was_not_is_wrong(world, wrong):
    verdict = judge(world, reported(), [wrong, *ROWS[1:]], all_series(0, 3))
    assert (verdict.lost, verdict.double) == (1, 1)


def test_a_page_that_repeats_a_job_is_wrong(world):
    verdict = judge(world, reported(), [*ROWS, ROWS[0]], all_series(0, 3))
    assert "run run of a is listed 2 times" in verdict.log


def test_a_sample_below_the_one_before_is_wrong_though_the_sum_comes_out(world):
    verdict = judge(world, reported(), ROWS, all_series(0, 2, 1, 2))
    assert any("fell from 2 to 1" in problem for problem in verdict.problems())


def test_a_counter_that_began_above_zero_hides_jobs_from_increase(world):
    verdict = judge(world, reported(), ROWS, all_series(1, 3))
    assert any("first met at 1" in problem for problem in verdict.problems())
    assert not verdict.true


def test_fewer_durations_than_ends_are_wrong(world):
    series = [one for one in all_series(0, 3) if "duration" not in one.name]
    assert judge(world, reported(), ROWS, series).problems() == ["Prometheus: 0 durations of image completed, 3 ends"]


def test_a_job_that_only_a_dead_exporter_was_shown_may_be_told_or_not(world):
    ledger = world.ledger
    ledger.observer_died(float("-inf"))
    for run in ledger.runs:
        run.place, run.removal = "gone", "restart"
        run.epoch = -1
    assert len(judge(world, reported(), ROWS, all_series(0, 3)).doubtful) == 4
    nothing = [sampled("comfyui_restarts_total", 0, 0)]
    assert judge(world, Reported(Counter(), Counter(), 0), [], nothing).problems() == []
