"""One batch: its sums, whatever its jobs do and in whatever order."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.jobs.batch import Batch, Work
from comfyui_exporter.jobs.update import ProgressStatus, ProgressUpdate

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ENDS = {"completed", "failed", "cancelled"}


def job(run_id, status="queued", percent=0.0, **fields):
    if status in ENDS:
        fields.setdefault("ended_at", NOON)
    return ProgressUpdate(None, "p", ProgressStatus(status), percent, run_id=run_id, batch_id="b", **fields)


def batch_of(*jobs):
    batch = Batch()
    for update, seconds in jobs:
        batch.put(update, seconds)
    return batch


def percent(batch):
    return batch.update("b").progress_percent


# Percent


def test_a_job_weighs_the_seconds_that_it_should_take():
    batch = batch_of((job("1", "processing", 50.0), 90.0), (job("2"), 10.0))
    assert percent(batch) == 45.0


def test_a_job_that_ended_weighs_the_seconds_that_it_took():
    batch = batch_of((job("1"), 30.0), (job("2"), 30.0))
    batch.put(job("1", "completed", 100.0, generation_time=10.0), None)
    assert percent(batch) == 25.0


def test_a_job_without_estimate_weighs_the_mean_of_the_others():
    batch = batch_of(
        (job("1", "completed", generation_time=10.0), None), (job("2"), 30.0), (job("3", "processing", 40.0), None)
    )
    # 10 of 10, 0 of 30, and 40 % of their mean of 20.
    assert percent(batch) == 30.0


def test_without_any_estimate_all_jobs_weigh_the_same():
    batch = batch_of((job("1", "failed"), None), (job("2", "processing", 50.0), None), (job("3"), None))
    assert percent(batch) == 50.0


def test_a_job_that_lost_its_estimate_weighs_what_it_did():
    batch = batch_of((job("1", "processing", 50.0), 90.0), (job("2"), 10.0))
    batch.put(job("1", "completing", 50.0), None)
    assert percent(batch) == 45.0
    batch.put(job("1", "timeout", 50.0, ended_at=NOON), None)
    assert percent(batch) == 90.0


def test_a_job_that_was_cancelled_before_it_ran_weighs_nothing():
    batch = batch_of((job("1", "completed", generation_time=10.0), None), (job("2"), 10.0), (job("3"), 10.0))
    batch.put(job("3", "cancelled"), None)
    assert percent(batch) == 50.0
    batch.put(job("2", "cancelled"), None)
    assert percent(batch) == 100.0


def test_jobs_that_took_no_time_are_work_all_the_same():
    batch = batch_of((job("1", "completed", generation_time=0.0), None), (job("2"), None))
    assert percent(batch) == 50.0


def test_the_percent_does_not_fall_because_an_estimate_rose():
    batch = batch_of((job("1", "completed", generation_time=10.0), None), (job("2"), 10.0))
    assert percent(batch) == 50.0
    batch.put(job("2"), 11.0)
    assert percent(batch) == 50.0
    batch.put(job("2", "processing", 20.0), 11.0)
    assert percent(batch) == 58.1


def test_the_percent_may_fall_when_jobs_are_added():
    batch = batch_of((job("1", "completed", generation_time=10.0), None))
    assert percent(batch) == 100.0
    batch.put(job("2"), 30.0)
    assert percent(batch) == 25.0


def test_a_batch_is_not_at_100_before_its_last_job_ended():
    batch = batch_of((job("1", "completed", generation_time=9999.0), None), (job("2", "processing", 50.0), 1.0))
    assert percent(batch) == 99.9
    batch.put(job("2", "failed", 50.0, generation_time=1.0), None)
    assert percent(batch) == 100.0


@given(
    st.lists(
        st.tuples(st.none() | st.integers(1, 10**8), st.integers(0, 100_000)),
        min_size=1,
        max_size=20,
    )
)
def test_the_percent_is_the_weighted_mean(jobs):
    work = Work()
    for weight, done in jobs:
        work.add(weight, done)
    known = [weight for weight, _ in jobs if weight is not None]
    mean = sum(known) / len(known) if known else 1.0
    weights = [mean if weight is None else weight for weight, _ in jobs]
    expected = sum(weight * done for weight, (_, done) in zip(weights, jobs, strict=True)) / sum(weights) / 1000
    assert work.percent == pytest.approx(expected)


# The end


def test_a_batch_is_done_when_its_last_job_is_and_only_if_all_have_an_estimate():
    later = NOON + timedelta(minutes=1)
    batch = batch_of((job("1", estimated_completion=later), None), (job("2", estimated_completion=NOON), None))
    assert batch.update("b").estimated_completion == later
    batch.put(job("3"), None)
    assert batch.update("b").estimated_completion is None
    batch.drop("3")
    batch.put(job("1", "completed"), None)
    assert batch.update("b").estimated_completion == NOON
    batch.put(job("2", "completed"), None)
    assert batch.update("b").estimated_completion is None


def test_a_job_whose_history_is_still_to_be_read_does_not_hide_when_the_batch_is_done():
    batch = batch_of((job("1", "completing"), None), (job("2", estimated_completion=NOON), None))
    assert batch.update("b").estimated_completion == NOON


# Everything


IDS = st.sampled_from("abcd")
UPDATES = st.builds(
    job,
    IDS,
    st.sampled_from(["queued", "processing", "completing", "completed", "failed", "cancelled"]),
    st.floats(0, 100),
    server=st.sampled_from([None, "gpu0", "gpu1"]),
    estimated_completion=st.none() | st.integers(0, 5).map(lambda minutes: NOON + timedelta(minutes=minutes)),
    generation_time=st.none() | st.floats(0, 1e5),
    started_at=st.sampled_from([None, NOON]),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), UPDATES, st.none() | st.floats(0.001, 1e5)),
        st.tuples(st.sampled_from(["drop", "forget"]), IDS),
    ),
    max_size=40,
)


def weight(before, update, seconds):
    """What a job weighs, in milliseconds."""
    if update.ended_at is None:
        return before if seconds is None else max(1, round(seconds * 1000))
    if update.generation_time is not None:
        return max(1, round(update.generation_time * 1000))
    return 0 if update.status == "cancelled" and update.started_at is None else before


@given(STEPS)
def test_what_is_added_up_step_by_step_is_what_a_new_sum_over_all_jobs_gives(steps):
    batch, inside, left = Batch(), {}, []
    shown = 0.0
    for what, *arguments in steps:
        if what == "put":
            update, seconds = arguments
            before = inside.get(update.run_id)
            if before is not None and before[0].terminal and not update.terminal:
                continue  # An end is final.
            if before is None:
                shown = 0.0
            inside[update.run_id] = (update, weight(before and before[1], update, seconds))
            batch.put(update, seconds)
        elif arguments[0] in inside:
            update, milliseconds = inside.pop(arguments[0])
            if what == "forget" and update.terminal:
                left.append((update, milliseconds))
            getattr(batch, what)(update.run_id)
        counted = [*inside.values(), *left]

        work = Work()
        for update, milliseconds in counted:
            work.add(milliseconds, 100_000 if update.terminal else round(update.progress_percent * 1000))
        assert batch.work == work

        told = batch.update("b")
        assert told.counts == Counter(update.status for update, _ in counted)
        assert told.total == len(counted)
        assert batch.by_server == {
            server: Counter(update.status for update, _ in counted if update.server == server)
            for server in {update.server for update, _ in counted} - {None}
        }
        still_open = [update for update, _ in counted if not update.terminal]
        assert batch.open == len(still_open)
        ends = [update.estimated_completion for update in still_open if update.status != "completing"]
        assert told.estimated_completion == (max(ends) if ends and None not in ends else None)

        assert shown <= told.progress_percent <= 100
        assert (told.progress_percent == 100) is (not still_open)
        shown = told.progress_percent
