"""Estimates of a server whose jobs of before are learned from after it is watched."""

from __future__ import annotations

from comfyui_exporter.eta.late import LatePredictor
from comfyui_exporter.eta.predictor import LearningPredictor
from eta.making import ended, features, run

OLD = [ended(10.0, features("a", model="x")) for _ in range(6)]
NEW = [ended(30.0, features("b", model="y")) for _ in range(3)]
WANTED = [run(features(name, model=model)) for name in ("a", "b") for model in ("x", "y")]


def in_order(*runs):
    predictor = LearningPredictor()
    for one in runs:
        predictor.learn(one)
    return predictor


def test_what_is_told_before_the_lessons_came_is_learned_after_them() -> None:
    late = LatePredictor()
    late.expect(len(OLD))
    for one in NEW:
        late.learn(one)
    for one in OLD:
        late.teach(one)
    late.taught()
    exact = in_order(*OLD, *NEW)
    assert [late.predict(one) for one in WANTED] == [exact.predict(one) for one in WANTED]
    assert [late.predict(one) for one in WANTED] != [in_order(*NEW, *OLD).predict(one) for one in WANTED]
    assert late.lessons == len(OLD) + len(NEW)


def test_nothing_is_predicted_from_half_of_the_lessons_and_who_asks_is_noted() -> None:
    late = LatePredictor()
    late.expect(len(OLD))
    late.teach(OLD[0])
    assert not late.asked
    assert late.predict(WANTED[0]) is None
    assert late.asked
    assert late.lessons == len(OLD)  # so that nobody reads them elsewhere


def test_predictions_are_made_anew_once_the_lessons_came() -> None:
    late = LatePredictor()
    late.expect(1)
    version = late.version
    late.teach(OLD[0])
    late.taught()
    assert late.version != version


def test_without_lessons_to_come_it_learns_at_once() -> None:
    late = LatePredictor()
    for one in OLD:
        late.learn(one)
    assert late.predict(WANTED[0]) == in_order(*OLD).predict(WANTED[0])


def test_a_job_that_runs_while_the_lessons_come_is_what_the_next_one_finds() -> None:
    late, exact = LatePredictor(), in_order(*OLD)
    running = run(features("b", model="y"))
    late.expect(len(OLD))
    late.started(running)
    exact.started(running)
    for one in OLD:
        late.teach(one)
    late.taught()
    wanted = run(features("a", model="x"))
    assert late.predict(wanted) == exact.predict(wanted)
