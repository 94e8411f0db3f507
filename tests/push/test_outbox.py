"""What waits for a client: the newest of each job, every end, in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.jobs.update import BatchUpdate, ServerUpdate
from comfyui_exporter.push.messages import alert_frame, batch_frame, job_frame, removed_frame, server_frame
from comfyui_exporter.push.news import JobFrame, RemovedFrame
from comfyui_exporter.push.outbox import Outbox
from push.making import update

RUNS = ["a", "b", "c"]

puts = st.tuples(st.sampled_from(["open", "ended", "removed"]), st.sampled_from(RUNS))
steps = st.lists(st.one_of(puts, st.tuples(st.just("take"), st.one_of(st.none(), st.integers(0, 4)))), max_size=60)


def news_of(kind, run, number):
    if kind == "removed":
        return removed_frame(job_frame(update(run)))
    return job_frame(update(run, "completed" if kind == "ended" else "processing", float(number)))


def run_of(news):
    return news.job.run_id if isinstance(news, RemovedFrame) else news.run_id


@given(steps)
def test_no_end_is_lost_and_nothing_old_comes_after_anything_new(script):
    outbox = Outbox()
    put, taken, dropped = [], [], 0
    for number, (kind, what) in enumerate(script):
        if kind == "take":
            taken += outbox.take(what)
            continue
        news = news_of(kind, what, number)
        put.append(news)
        dropped += outbox.put(news)
        waiting = [each for each in put if each not in taken]
        assert len(outbox) <= len(waiting)
        assert outbox.terminals == sum(isinstance(each, JobFrame) and each.terminal for each in waiting)
    taken += outbox.take()
    assert len(outbox) == outbox.terminals == 0
    # Every end, once.
    ends = [each for each in put if isinstance(each, JobFrame) and each.terminal]
    assert [each for each in ends if each not in taken] == []
    assert len(set(map(id, taken))) == len(taken)
    for run in RUNS:
        told = [put.index(each) for each in taken if run_of(each) == run]
        assert told == sorted(told), "older after newer"
        of_run = [place for place, each in enumerate(put) if run_of(each) == run]
        # The last word on a run is the last that was said of it.
        assert told[-1:] == of_run[-1:]
    removed = sum(isinstance(each, RemovedFrame) for each in put) - sum(
        isinstance(each, RemovedFrame) for each in taken
    )
    assert len(put) == len(taken) + dropped + removed


def test_an_update_takes_the_place_of_the_one_that_waits():
    outbox = Outbox()
    first, other, second = (news_of("open", run, number) for number, run in enumerate("aba"))
    assert [outbox.put(news) for news in (first, other, second)] == [0, 0, 1]
    assert outbox.take() == [second, other]


def test_an_end_takes_the_update_away_and_goes_to_the_end():
    outbox = Outbox()
    first, other, end = news_of("open", "a", 0), news_of("open", "b", 1), news_of("ended", "a", 2)
    assert [outbox.put(news) for news in (first, other, end)] == [0, 0, 1]
    assert outbox.take(1) == [other]
    assert outbox.take(1) == [end]


def test_of_servers_batches_and_alerts_the_newest_is_enough():
    outbox = Outbox()
    newest = []
    for running in range(3):
        newest = [
            server_frame(ServerUpdate("gpu0", up=True, running=running, pending=0, drain_seconds=None)),
            batch_frame(BatchUpdate("gpu0", running, {}, 0.0)),
            alert_frame({"labels": {"server": "gpu0"}, "startsAt": running}),
        ]
        for news in newest:
            outbox.put(news)
    assert outbox.take() == newest
