"""How long jobs should take, from what such jobs took before."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.eta.predictor import LearningPredictor
from comfyui_exporter.tracker.runs import State
from eta.making import ended, features, learned, median, run

XL, FLUX = "sd_xl.safetensors", "flux.safetensors"


def test_nothing_is_predicted_before_anything_was_learned() -> None:
    assert LearningPredictor().predict(run(features())) is None
    assert LearningPredictor().predict(run(None)) is None


# Jobs of the same settings


def test_jobs_of_the_same_settings_take_what_such_jobs_took() -> None:
    predictor = learned(*(ended(12.0, features("a")) for _ in range(6)))
    assert median(predictor, run(features("a"))) == pytest.approx(12.0, rel=0.01)


def test_the_same_settings_say_more_than_the_same_graph() -> None:
    jobs = [ended(took, features(name)) for _ in range(5) for name, took in (("a", 10.0), ("b", 50.0))]
    predictor = learned(*jobs)
    assert median(predictor, run(features("a"))) == pytest.approx(10.0, rel=0.01)
    assert median(predictor, run(features("b"))) == pytest.approx(50.0, rel=0.01)


def test_one_that_was_strange_changes_little() -> None:
    usual = [ended(10.0, features("a")) for _ in range(8)]
    assert median(learned(*usual, ended(300.0, features("a"))), run(features("a"))) == pytest.approx(10.0, rel=0.05)


def test_a_server_that_became_faster_is_believed_soon() -> None:
    predictor = learned(
        *(ended(100.0, features("a")) for _ in range(50)), *(ended(10.0, features("a")) for _ in range(6))
    )
    assert median(predictor, run(features("a"))) == pytest.approx(10.0, rel=0.05)


def test_what_was_learned_after_a_prediction_changes_the_next() -> None:
    predictor = learned(ended(10.0, features("a")))
    before, version = median(predictor, run(features("a"))), predictor.version
    for _ in range(4):
        predictor.learn(ended(30.0, features("a")))
    assert before == pytest.approx(10.0, rel=0.2)
    assert median(predictor, run(features("a"))) == pytest.approx(30.0, rel=0.1)
    assert predictor.version != version


# New settings and new graphs


def test_twice_the_steps_take_twice_the_time_though_that_was_never_run() -> None:
    predictor = learned(*(ended(float(steps), features(steps=steps)) for steps in (10, 15, 20, 25, 30) * 4))
    assert median(predictor, run(features(steps=60))) == pytest.approx(60.0, rel=0.1)


def test_what_pixels_frames_and_batch_cost_is_learned_apart() -> None:
    chance = random.Random(1)

    def work() -> tuple[float, float, float, float]:
        return chance.choice((10, 20, 40)), chance.choice((2.5e5, 1e6)), chance.choice((16, 81)), chance.choice((1, 2))

    def seconds(steps: float, pixels: float, frames: float, batch: float) -> float:
        return 0.01 * steps * (pixels / 1e5) * (frames / 16) ** 0.5 * batch

    predictor = LearningPredictor()
    for _ in range(60):
        steps, pixels, frames, batch = work()
        of = features(steps=steps, pixels=pixels, frames=frames, batch=batch)
        predictor.learn(ended(seconds(steps, pixels, frames, batch), of))
    new = features(steps=30, pixels=5e5, frames=49, batch=4)
    assert median(predictor, run(new)) == pytest.approx(seconds(30, 5e5, 49, 4), rel=0.15)


def test_a_new_graph_is_guessed_from_others_with_its_model_and_not_from_all() -> None:
    jobs = [
        ended(took * steps, features(shape=shape, model=model, steps=steps), job_type="unknown")
        for steps in (20, 30, 20, 30, 20, 30)
        for shape, model, took in (("one", XL, 0.1), ("two", XL, 0.12), ("three", FLUX, 5.0))
    ]
    predictor = learned(*jobs)
    guess = median(predictor, run(features(shape="new", model=XL, steps=25), job_type="unknown"))
    assert guess is not None
    assert 1.5 < guess < 6.0


def test_a_job_of_which_nothing_is_known_is_predicted_by_its_job_type() -> None:
    predictor = learned(ended(10.0, features(), job_type="portrait"), ended(90.0, features("v"), job_type="video"))
    assert median(predictor, run(None, job_type="video")) == pytest.approx(90.0)
    assert median(predictor, run(None, job_type="portrait")) == pytest.approx(10.0)
    assert predictor.predict(run(None, job_type="never seen")) is None


def test_jobs_without_features_teach_their_job_type() -> None:
    assert median(learned(ended(42.0, None)), run(None)) == pytest.approx(42.0)


# What teaches nothing


@pytest.mark.parametrize("state", [State.FAILED, State.INTERRUPTED, State.CANCELLED, State.LOST])
def test_runs_that_were_not_completed_do_not_say_how_long_such_jobs_take(state: State) -> None:
    assert learned(ended(10.0, features("a"), state=state)).predict(run(features("a"))) is None


def test_runs_without_a_duration_teach_nothing() -> None:
    assert learned(ended(None, features("a"))).predict(run(features("a"))) is None
    assert learned(ended(-5.0, features("a"))).predict(run(features("a"))) is None


def test_runs_that_came_whole_from_a_cache_say_nothing_of_others() -> None:
    usual = [ended(10.0, features("a")) for _ in range(5)]
    cached = [ended(0.01, features("a"), executed=0, cached=3) for _ in range(5)]
    assert median(learned(*usual, *cached), run(features("a"))) == pytest.approx(10.0, rel=0.01)
    assert learned(ended(0.01, None, executed=0, cached=3)).predict(run(None)) is None


# What the job before left behind


def two_models() -> LearningPredictor:
    """Sees jobs that take 10 s, and 16 s whenever the model is another than before."""
    predictor = LearningPredictor()
    for _ in range(4):
        for model in (XL, FLUX):
            predictor.learn(ended(16.0, features(model=model)))
            predictor.learn(ended(10.0, features(model=model)))
            predictor.learn(ended(10.0, features(model=model)))
    return predictor


def test_a_model_that_is_not_in_memory_takes_its_time_to_load() -> None:
    predictor = two_models()
    assert median(predictor, run(features(model=FLUX))) == pytest.approx(10.0, rel=0.05)
    assert median(predictor, run(features(model=XL))) == pytest.approx(16.0, rel=0.05)


def test_loading_comes_on_top_of_settings_that_were_never_run_cold() -> None:
    predictor = two_models()
    for _ in range(4):
        predictor.learn(ended(40.0, features("long", model=FLUX)))
    predictor.learn(ended(16.0, features(model=XL)))
    assert median(predictor, run(features("long", model=FLUX))) == pytest.approx(46.0, rel=0.05)


def test_after_a_restart_of_comfyui_nothing_is_in_memory() -> None:
    predictor = two_models()
    assert median(predictor, run(features(model=FLUX), epoch=1)) == pytest.approx(16.0, rel=0.05)
    predictor.learn(ended(16.0, features(model=FLUX), epoch=1))
    assert median(predictor, run(features(model=FLUX), epoch=1)) == pytest.approx(10.0, rel=0.05)


def test_a_job_finds_what_the_one_ahead_of_it_in_the_queue_will_leave() -> None:
    predictor = two_models()
    ahead = run(features(model=XL))
    assert median(predictor, run(features(model=XL)), after=ahead) == pytest.approx(10.0, rel=0.05)
    assert median(predictor, run(features(model=FLUX)), after=ahead) == pytest.approx(16.0, rel=0.05)


def test_what_started_counts_before_its_end_was_read() -> None:
    predictor = two_models()
    running = run(features(model=XL), run_id="running", state=State.PROCESSING)
    predictor.started(running)
    assert median(predictor, run(features(model=XL))) == pytest.approx(10.0, rel=0.05)
    # It itself has still to load it.
    assert median(predictor, running) == pytest.approx(16.0, rel=0.05)


def test_a_job_without_a_model_leaves_the_model_in_memory() -> None:
    predictor = two_models()
    predictor.learn(ended(1.0, features(shape="save an upload")))
    assert median(predictor, run(features(model=FLUX))) == pytest.approx(10.0, rel=0.05)


def test_a_job_that_failed_loaded_its_model() -> None:
    predictor = two_models()
    predictor.learn(ended(5.0, features(model=XL), state=State.FAILED))
    assert median(predictor, run(features(model=XL))) == pytest.approx(10.0, rel=0.05)


def test_a_job_that_was_deleted_left_nothing_behind() -> None:
    predictor = two_models()
    predictor.learn(ended(None, features(model=XL), state=State.CANCELLED))
    assert median(predictor, run(features(model=FLUX))) == pytest.approx(10.0, rel=0.05)


def test_the_very_same_again_takes_no_time() -> None:
    predictor = learned(*(ended(10.0, features("a")) for _ in range(5)))
    at_once = median(predictor, run(features("a", content="x")), after=run(features("a", content="x")))
    assert at_once == pytest.approx(0.05)
    predictor.learn(ended(10.0, features("a", content="x")))
    predictor.learn(ended(0.2, features("a", content="x"), executed=0, cached=3))
    assert median(predictor, run(features("a", content="x"))) == pytest.approx(0.2)
    assert median(predictor, run(features("a"))) == pytest.approx(10.0, rel=0.01)


def test_the_very_same_after_a_failure_has_to_do_it_all() -> None:
    predictor = learned(*(ended(10.0, features("a")) for _ in range(5)))
    predictor.learn(ended(3.0, features("a", content="x", costly="c"), state=State.FAILED))
    assert median(predictor, run(features("a", content="x", costly="c"))) == pytest.approx(10.0, rel=0.01)


def test_sampling_that_comes_from_the_cache_saves_its_time() -> None:
    predictor = LearningPredictor()
    for number in range(4):
        predictor.learn(ended(20.0, features("a", costly=f"{number}")))
        predictor.learn(ended(2.0, features("a", costly=f"{number}")))
    assert median(predictor, run(features("b", costly="3"))) == pytest.approx(2.0, rel=0.2)
    assert median(predictor, run(features("a", costly="new"))) == pytest.approx(20.0, rel=0.05)


# What was there before us


def test_what_is_recalled_teaches_but_is_not_what_ran_last() -> None:
    predictor = two_models()
    for _ in range(4):
        predictor.recall(ended(30.0, features("old", model=XL)))
    assert median(predictor, run(features(model=FLUX))) == pytest.approx(10.0, rel=0.05)
    assert median(predictor, run(features("old", model=XL)), after=run(features(model=XL))) == pytest.approx(
        30.0, rel=0.1
    )


def test_as_long_as_nothing_else_ran_what_is_recalled_ran_last() -> None:
    predictor = LearningPredictor()
    for _ in range(4):
        predictor.recall(ended(30.0, features(model=XL)))
    cold, warm = run(features(model=FLUX)), run(features(model=XL))
    assert median(predictor, warm) == pytest.approx(30.0, rel=0.1)
    assert (median(predictor, cold) or 0) > 35


# The band


def test_of_ten_jobs_about_eight_are_within_the_band() -> None:
    chance = random.Random(7)
    predictor = LearningPredictor()
    within = 0
    for number in range(400):
        took = 10.0 * chance.lognormvariate(0.0, 0.2)
        estimate = predictor.predict(run(features("a")))
        if number >= 100 and estimate is not None:
            within += estimate.low <= took <= estimate.high
        predictor.learn(ended(took, features("a")))
    assert 0.7 < within / 300 < 0.9


def test_the_band_of_a_workflow_that_always_takes_the_same_is_narrower() -> None:
    chance = random.Random(7)
    predictor = LearningPredictor()
    for _ in range(40):
        predictor.learn(ended(10.0 * chance.uniform(0.99, 1.01), features("a", shape="steady")))
        predictor.learn(ended(10.0 * chance.lognormvariate(0.0, 0.5), features("a", shape="moody")))
    steady, moody = (predictor.predict(run(features("a", shape=shape))) for shape in ("steady", "moody"))
    assert steady is not None
    assert moody is not None
    assert steady.high / steady.low < 1.15
    assert moody.high / moody.low > 1.6


def test_the_band_of_a_guess_is_wider_than_that_of_what_is_known() -> None:
    predictor = learned(*(ended(10.0, features("a")) for _ in range(10)))
    known, guess = predictor.predict(run(features("a"))), predictor.predict(run(features(shape="new")))
    assert known is not None
    assert guess is not None
    assert guess.high / guess.low > known.high / known.low


# Bounds


def test_settings_are_bounded_and_those_not_used_for_long_go_first() -> None:
    predictor = learned(*(ended(100.0, features("first")) for _ in range(5)))
    for number in range(1_200):
        predictor.learn(ended(2.0, features(f"other{number}")))
    # Nothing but the graph in general says how long it takes, and that has changed.
    assert (median(predictor, run(features("first"))) or 0) < 5


def test_a_job_that_takes_no_time_still_has_an_estimate_to_divide_by() -> None:
    estimate = learned(ended(0.0, features("a"))).predict(run(features("a")))
    assert estimate is not None
    assert estimate.median > 0
    assert estimate.high > 0


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e9),
            st.sampled_from(["a", "b"]),
            st.sampled_from(["", XL, FLUX]),
            st.floats(0, 1e12),
            st.floats(0, 1e12),
            st.sampled_from(["x", "y"]),
            st.sampled_from([State.COMPLETED, State.FAILED, State.LOST]),
            st.integers(0, 2),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_whatever_was_learned_an_estimate_is_in_order_and_finite(
    jobs: list[tuple[float, str, str, float, float, str, State, int]],
) -> None:
    predictor = LearningPredictor()
    for took, shape, model, steps, pixels, content, state, epoch in jobs:
        of = features(shape=shape, model=model, steps=steps, pixels=pixels, content=content)
        predictor.learn(ended(took, of, state=state, epoch=epoch))
        estimate = predictor.predict(run(of, epoch=epoch))
        if estimate is not None:
            assert 0 <= estimate.low <= estimate.median <= estimate.high < 1e12
            assert estimate.median > 0
