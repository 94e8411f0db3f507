"""Batches: jobs that were submitted with one batch_id."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from comfyui_exporter.jobs.batches import TELL_EVERY, Batches
from comfyui_exporter.jobs.update import ProgressStatus, ProgressUpdate

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def job(run_id, status="queued", **fields):
    if status in {"completed", "failed", "cancelled"}:
        fields.setdefault("ended_at", NOON)
    return ProgressUpdate(None, f"p-{run_id}", ProgressStatus(status), run_id=run_id, batch_id="b", **fields)


def test_a_batch_counts_its_jobs_by_status_and_ended_ones_as_done():
    batches = Batches()
    for one in (
        job("1", "completed", progress_percent=100.0),
        job("2", "failed", progress_percent=20.0),
        job("3", "processing", progress_percent=50.0),
        job("4"),
    ):
        list(batches.put(None, one, 0.0))
    batch = batches.get("b")
    assert batch.total == 4
    assert batch.counts == {"completed": 1, "failed": 1, "processing": 1, "queued": 1}
    assert batch.progress_percent == 62.5


def test_a_batch_is_done_when_its_last_job_is_and_only_if_all_have_an_estimate():
    batches = Batches()
    list(batches.put(None, job("1", estimated_completion=NOON), 0.0))
    list(batches.put(None, job("2", estimated_completion=NOON + timedelta(minutes=1)), 0.0))
    assert batches.get("b").estimated_completion == NOON + timedelta(minutes=1)
    list(batches.put(None, job("3"), 0.0))
    assert batches.get("b").estimated_completion is None


def test_a_change_of_status_is_told_at_once_and_of_percent_once_a_second():
    batches = Batches()
    first = job("1", "processing", progress_percent=1.0)
    assert len(list(batches.put(None, first, 0.0))) == 1
    second = replace(first, progress_percent=2.0)
    assert list(batches.put(first, second, 0.5)) == []
    assert list(batches.due(0.9)) == []
    assert [batch.progress_percent for batch in batches.due(TELL_EVERY)] == [2.0]
    assert list(batches.due(10.0)) == []
    done = job("1", "completed", progress_percent=100.0)
    assert [batch.progress_percent for batch in batches.put(second, done, 1.1)] == [100.0]


def test_a_batch_is_told_again_when_one_of_its_jobs_left_memory_and_is_gone_with_the_last():
    batches = Batches()
    one, two = job("1", "completed"), job("2")
    list(batches.put(None, one, 0.0))
    list(batches.put(None, two, 0.0))
    assert batches.remove(one) is None
    assert [batch.total for batch in batches.due(5.0)] == [1]
    assert batches.remove(two) == "b"
    assert batches.get("b") is None
    assert list(batches.all()) == []


def test_a_job_without_a_batch_makes_none():
    batches = Batches()
    alone = replace(job("1"), batch_id=None)
    assert list(batches.put(None, alone, 0.0)) == []
    assert batches.remove(alone) is None
    assert list(batches.all()) == []
