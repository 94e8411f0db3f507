"""Whether a server became faster or slower as a whole."""

from __future__ import annotations

import random

import pytest

from comfyui_exporter.eta.pace import Pace
from eta.making import ended, features, learned, median, run

USUAL = 0.05


def weighed(*jobs: tuple[str, float]) -> tuple[Pace[int], list[int]]:
    """Weigh (settings, error) of jobs, and give what could be learned from, by number."""
    pace = Pace[int]()
    ready: list[int] = []
    for number, (settings, error) in enumerate(jobs):
        ready += pace.weigh(number, settings, error, USUAL)
    return pace, ready


def test_usual_errors_are_learned_from_at_once() -> None:
    pace, ready = weighed(("a", 0.1), ("b", 0.1), ("c", 0.1), ("d", 0.1), ("e", 0.1))
    assert ready == [0, 1, 2, 3, 4]
    assert pace.value == 0


def test_four_jobs_that_are_off_alike_are_a_server_that_changed() -> None:
    pace, ready = weighed(("a", 0.7), ("b", 0.68), ("a", 0.72))
    assert (pace.value, ready) == (0, [])
    ready = pace.weigh(3, "b", 0.7, USUAL)
    assert pace.value == pytest.approx(0.7)
    assert ready == [0, 1, 2, 3]


def test_one_job_as_usual_shows_that_those_before_were_strange_themselves() -> None:
    pace, ready = weighed(("a", 0.7), ("b", 0.7), ("c", 0.0), ("a", 0.7), ("b", 0.7), ("c", 0.7))
    assert pace.value == 0
    assert ready == [0, 1, 2]


def test_errors_to_both_sides_are_no_change() -> None:
    pace, ready = weighed(*[("a", 0.7), ("b", -0.7)] * 4)
    assert pace.value == 0
    assert ready == [0, 1, 2, 3, 4, 5, 6]


def test_jobs_of_one_kind_that_take_another_time_say_nothing_of_the_server() -> None:
    pace, ready = weighed(*[("a", 0.7)] * 4)
    assert pace.value == 0
    assert ready == [0, 1, 2, 3]


def test_once_it_is_clear_that_jobs_of_one_kind_changed_each_of_them_is_learned_from_at_once() -> None:
    pace, ready = weighed(*[("a", 0.7)] * 4, ("a", 0.5), ("a", 0.3))
    assert pace.value == 0
    assert ready == [0, 1, 2, 3, 4, 5]


def test_errors_of_different_sizes_have_no_one_cause() -> None:
    pace, ready = weighed(("a", 0.3), ("b", 1.5), ("c", 0.4), ("d", 2.0))
    assert pace.value == 0
    assert ready == [0, 1, 2, 3]


def test_what_is_far_off_as_always_is_no_news() -> None:
    pace = Pace[int]()
    assert [pace.weigh(number, f"{number}", 0.5, 0.4) for number in range(5)] == [[0], [1], [2], [3], [4]]
    assert pace.value == 0


@pytest.mark.parametrize("factor", [1 / 3, 3.0])
def test_a_server_that_changes_is_believed_after_a_few_jobs_of_some_workflows_for_all(factor: float) -> None:
    chance = random.Random(1)
    took = {"a": 10.0, "b": 30.0, "c": 7.0, "never again": 20.0}
    jobs = [
        ended(took[name] * chance.uniform(0.97, 1.03), features(name, shape=name)) for _ in range(10) for name in took
    ]
    predictor = learned(*jobs)
    for name in ("a", "b", "a", "c"):
        predictor.learn(ended(factor * took[name], features(name, shape=name)))
    for name, seconds in took.items():
        assert median(predictor, run(features(name, shape=name))) == pytest.approx(factor * seconds, rel=0.1)
