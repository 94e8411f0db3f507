"""What else the fuzz found, each with the smallest input that shows it."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from comfyui_exporter.jobs.describe import Describe
from comfyui_exporter.metrics.sink import MetricSink
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.tracker import queue_matching
from comfyui_exporter.tracker.observations import Details, QueueItem, QueueRead
from comfyui_exporter.tracker.runs import Run, State
from comfyui_exporter.tracker.tracker import Tracker
from comfyui_exporter.tracker.transitions import Ended, Submitted
from metrics.reading import read

LOST = Run("r", "p", 1.0, State.LOST, Details(), 0, first_seen=1.0, ended_at=2.0)


def sink(store):
    made = MetricSink(store, lambda at: at, ("unknown",))
    made.add_server("gpu0")
    return made


def test_a_job_that_was_gone_before_it_was_looked_into_is_counted_with_job_labels_configured():
    store = MetricStore(job_labels=["project"])
    sink(store).transitions("gpu0", [Ended(2.0, LOST), Ended(2.0, replace(LOST, run_id="s"))])
    series = ("server", "gpu0"), ("job_type", "unknown"), ("status", "lost"), ("project", "")
    assert read(store)["comfyui_jobs_total", series] == 2


def test_a_queue_of_many_job_types_asks_for_each_series_once_and_not_for_each_job():
    store = MetricStore(job_labels=["project"])
    made = sink(store)
    runs = [
        replace(LOST, state=State.QUEUED, run_id=str(number), details=Details(job_type=f"t{number}", labels=("x",)))
        for number in range(300)
    ]
    made.transitions("gpu0", [Submitted(1.0, run) for run in runs])
    counts = {labels: value for (name, labels), value in read(store).items() if name == "comfyui_jobs_submitted_total"}
    assert sum(counts.values()) == 300
    # Each of the types past the limit asks for `other` twice: whether it stands, and to be counted.
    (overflow,) = [
        value
        for (name, labels), value in read(store).items()
        if name == "comfyui_exporter_label_overflow_total" and ("label", "job_type") in labels
    ]
    assert overflow < 3 * 300
    assert counts[("server", "gpu0"), ("job_type", "other")] == 300 - 49


@pytest.mark.parametrize("at", [1.3e12, 4e15, 1e308, -1e15])
def test_a_job_that_would_end_after_the_last_year_there_is_has_no_date_for_that(at):
    describe = Describe(lambda moment: moment, ())
    assert describe._moment(at) is None
    assert describe._moment(0.0) == datetime(1970, 1, 1, tzinfo=UTC)


def read_at(at, items, complete=True):
    return QueueRead(at, (), tuple(items), complete=complete, since=at)


@pytest.mark.parametrize("complete", [True, False])
def test_a_queue_that_is_another_one_in_each_read_does_not_fill_the_memory(complete, monkeypatch):
    monkeypatch.setattr(queue_matching, "MOST_OPEN", 50)
    tracker = Tracker(lambda: uuid.uuid4().hex, lambda *_: "unknown")
    tracker.begin(None)
    ended = []
    for number in range(20):
        items = [QueueItem(f"{number}-{place}", 1.0, Details()) for place in range(20)]
        changes = tracker.apply(read_at(float(number), items, complete))
        ended += [change.run for change in changes if isinstance(change, Ended)]
        assert len(tuple(tracker.open_runs)) <= 50
    assert {run.state for run in ended} == {State.LOST}
    assert [run.prompt_id for run in ended] == [f"{number}-{place}" for number in range(18) for place in range(20)][
        :350
    ]
    assert {item.prompt_id for item in items} <= {run.prompt_id for run in tracker.open_runs}


def test_thousands_of_items_that_nothing_tells_apart_do_not_keep_everybody_waiting():
    tracker = Tracker(lambda: uuid.uuid4().hex, lambda *_: "unknown")
    tracker.begin(None)
    items = [QueueItem("same", 1.0, Details())] * 20_000
    began = time.process_time()
    for at in (1.0, 2.0, 3.0):
        tracker.apply(read_at(at, items))
    assert time.process_time() - began < 2
    assert len(tuple(tracker.open_runs)) == queue_matching.MOST_TWINS


async def test_a_push_client_that_sends_a_byte_now_and_then_is_not_there(serve):
    service = await serve(heartbeat=0.1)
    _, reader, writer = await service.raw()
    ended = asyncio.create_task(reader.read())
    # The head of a text of 60,000 bytes, which never comes to its end.
    writer.write(b"\x81\xfe\xea\x60\0\0\0\0")
    async with asyncio.timeout(10):
        while not ended.done():
            writer.write(b"x")
            await asyncio.sleep(0.01)
    await service.until(lambda: service.hub.clients == 0)
    writer.transport.abort()
