"""Batches: which there are, when they are told, and what they remember of jobs that left memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.jobs.batches import KEEP_RESTORED, TELL_EVERY, Batches
from comfyui_exporter.jobs.update import ProgressStatus, ProgressUpdate

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
COMPLETED, FAILED, CANCELLED = ProgressStatus.COMPLETED, ProgressStatus.FAILED, ProgressStatus.CANCELLED


def job(run_id, status="queued", batch_id="b", **fields):
    if status in {"completed", "failed", "cancelled"}:
        fields.setdefault("ended_at", NOON)
    return ProgressUpdate(None, f"p-{run_id}", ProgressStatus(status), run_id=run_id, batch_id=batch_id, **fields)


def put(batches, *jobs, seconds=None):
    for one in jobs:
        batches.put(one, 0.0, seconds)


def test_a_batch_counts_its_jobs_by_status_and_ended_ones_as_done():
    batches = Batches()
    put(
        batches,
        job("1", "completed", progress_percent=100.0),
        job("2", "failed", progress_percent=20.0),
        job("3", "processing", progress_percent=50.0),
        job("4"),
    )
    batch = batches.get("b")
    assert batch.total == 4
    assert batch.counts == {"completed": 1, "failed": 1, "processing": 1, "queued": 1}
    assert batch.progress_percent == 62.5


def test_a_change_of_status_is_told_at_once_and_of_percent_once_a_second():
    batches = Batches()
    first = job("1", "processing", progress_percent=1.0)
    assert batches.put(first, 0.0) is not None
    second = replace(first, progress_percent=2.0)
    assert batches.put(second, 0.5) is None
    assert list(batches.due(0.9)) == []
    assert [batch.progress_percent for batch in batches.due(TELL_EVERY)] == [2.0]
    assert list(batches.due(10.0)) == []
    assert batches.put(job("1", "completed", progress_percent=100.0), 1.1).progress_percent == 100.0


def test_what_a_batch_does_not_show_is_not_told():
    batches = Batches()
    batches.put(job("1"), 0.0, 10.0)
    assert batches.put(job("1", queue_position=1), 5.0, 10.0) is None
    assert list(batches.due(10.0)) == []


def test_a_job_without_a_batch_makes_none():
    batches = Batches()
    alone = job("1", batch_id=None)
    assert batches.put(alone, 0.0) is None
    assert batches.remove(alone) is None
    assert list(batches.all()) == []


# Leaving memory


def test_a_job_that_ended_counts_in_its_batch_after_it_left_memory():
    batches = Batches()
    done = job("1", "completed", generation_time=30.0)
    put(batches, done)
    put(batches, job("2"), seconds=10.0)
    assert batches.remove(done) is None
    batch = batches.get("b")
    assert (batch.total, batch.counts, batch.progress_percent) == (2, {"completed": 1, "queued": 1}, 75.0)
    put(batches, job("2", "completed", generation_time=10.0))
    assert (batches.get("b").total, batches.get("b").progress_percent) == (2, 100.0)


def test_a_batch_goes_when_its_last_job_leaves_memory_and_begins_anew():
    batches = Batches()
    one, two = job("1", "completed"), job("2", "completed")
    put(batches, one, two)
    assert batches.remove(one) is None
    assert batches.remove(two) == "b"
    assert batches.get("b") is None
    assert list(batches.all()) == []
    put(batches, job("3"))
    assert batches.get("b").counts == {"queued": 1}


def test_a_job_that_goes_before_it_ended_counts_no_more():
    batches = Batches()
    one, two = job("1"), job("2")
    put(batches, one, two)
    assert batches.remove(one) is None
    assert [batch.total for batch in batches.due(5.0)] == [1]


def test_a_job_of_another_batch_now_counts_no_more_though_it_ended():
    batches = Batches()
    one, two = job("1", "completed"), job("2", "completed")
    put(batches, one, two)
    assert batches.leave(one) is None
    assert batches.get("b").total == 1
    assert batches.leave(two) == "b"


def test_what_is_not_there_cannot_leave():
    batches = Batches()
    put(batches, job("1"))
    assert batches.remove(job("2")) is None
    assert batches.remove(job("1", batch_id="other")) is None
    assert batches.get("b").total == 1


# After a restart of the exporter


def test_jobs_that_ended_before_count_whether_they_are_restored_before_or_after_those_in_memory():
    before, after = Batches(), Batches()
    before.restore("b", {COMPLETED: 2, FAILED: 1}, 30.0)
    put(before, job("1"), seconds=10.0)
    put(after, job("1"), seconds=10.0)
    after.restore("b", {COMPLETED: 2, FAILED: 1}, 30.0)
    for batches in (before, after):
        batch = batches.get("b")
        assert (batch.total, batch.counts) == (4, {"completed": 2, "failed": 1, "queued": 1})
        assert batch.progress_percent == 75.0


def test_restored_jobs_without_a_duration_weigh_nothing():
    batches = Batches()
    batches.restore("b", {COMPLETED: 1, CANCELLED: 7}, 10.0, timed=1)
    put(batches, job("1"))
    assert (batches.get("b").total, batches.get("b").progress_percent) == (9, 50.0)


def test_the_servers_of_a_batch_are_restored_one_by_one():
    batches = Batches()
    batches.restore("b", {COMPLETED: 2}, 20.0, server="gpu0")
    batches.restore("b", {COMPLETED: 1}, 10.0, server="gpu1")
    put(batches, job("1", server="gpu0"))
    assert batches.get("b").counts == {"completed": 3, "queued": 1}
    assert list(batches.active_on("gpu0")) == [("b", {"completed": 2, "queued": 1})]
    assert list(batches.active_on("gpu1")) == [("b", {"completed": 1})]


def test_what_is_restored_is_no_batch_without_a_job_and_does_not_wait_for_ever():
    batches = Batches()
    batches.restore("b", {COMPLETED: 2}, 20.0)
    assert (batches.get("b"), list(batches.all()), list(batches.active)) == (None, [], [])
    assert list(batches.due(100.0)) == []
    assert list(batches.due(99.0 + KEEP_RESTORED)) == []
    put(batches, job("1"))
    assert batches.get("b").total == 3
    batches.restore("c", {COMPLETED: 2}, 20.0)
    for at in (200.0, 200.0 + KEEP_RESTORED):
        list(batches.due(at))
    put(batches, job("2", batch_id="c"))
    assert batches.get("c").total == 1


# Active ones


def test_a_batch_is_active_while_one_of_its_jobs_has_not_ended():
    batches = Batches()
    put(batches, job("1"), job("2"), job("3", "completed", batch_id="done"))
    assert list(batches.active) == ["b"]
    put(batches, job("1", "failed"))
    assert list(batches.active) == ["b"]
    put(batches, job("2", "completed"))
    assert list(batches.active) == []


def test_the_batches_of_a_server_are_those_that_are_active_the_newest_first():
    batches = Batches()
    put(batches, job("1", batch_id="a", server="gpu0"), job("2", batch_id="b", server="gpu0"))
    put(batches, job("3", batch_id="b", server="gpu1"), job("4", batch_id="c"))
    assert list(batches.active_on("gpu0")) == [("b", {"queued": 1}), ("a", {"queued": 1})]
    assert list(batches.active_on("gpu1")) == [("b", {"queued": 1})]
    put(batches, job("2", "completed", batch_id="b", server="gpu0"))
    assert list(batches.active_on("gpu0")) == [("b", {"completed": 1}), ("a", {"queued": 1})]
    put(batches, job("3", "completed", batch_id="b", server="gpu1"))
    assert [list(batches.active_on(server)) for server in ("gpu0", "gpu1")] == [[("a", {"queued": 1})], []]


def test_a_server_that_is_removed_has_no_batches_and_what_ended_there_still_counts():
    batches = Batches()
    done, gone = job("1", "completed", server="gpu0"), job("2", server="gpu0")
    put(batches, done, gone, job("3", server="gpu1"))
    batches.remove(done)
    batches.remove(gone)
    batches.remove_server("gpu0")
    assert list(batches.active_on("gpu0")) == []
    assert batches.get("b").counts == {"completed": 1, "queued": 1}
    put(batches, job("4", server="gpu0"))
    assert list(batches.active_on("gpu0")) == [("b", {"queued": 1})]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "remove"]),
        st.builds(
            job,
            st.sampled_from("123456"),
            st.sampled_from(["queued", "completed"]),
            server=st.sampled_from([None, "gpu0", "gpu1"]),
        ),
    ),
    max_size=30,
)


@given(STEPS)
def test_the_batches_of_a_server_are_those_that_a_look_at_all_batches_finds(steps):
    """Each run_id is of one batch: 1 and 4 of b1, 2 and 5 of b2, 3 and 6 of b0."""
    batches, inside = Batches(), {}
    for what, given_job in steps:
        one = replace(given_job, batch_id=f"b{int(given_job.run_id) % 3}")
        if what == "put":
            inside[one.run_id] = one
            batches.put(one, 0.0)
        elif (there := inside.pop(one.run_id, None)) is not None:
            batches.remove(there)
        active = {there.batch_id for there in inside.values() if not there.terminal}
        assert set(batches.active) == active
        assert {batch.batch_id for batch in batches.all()} == {there.batch_id for there in inside.values()}
        for server in ("gpu0", "gpu1"):
            shown = dict(batches.active_on(server))
            assert shown.keys() >= {
                there.batch_id for there in inside.values() if there.server == server and there.batch_id in active
            }
            assert shown.keys() <= active
