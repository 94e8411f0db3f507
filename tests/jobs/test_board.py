"""What readers are told of jobs, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from comfyui_exporter.jobs.board import LOOK_AGAIN, MOST_LOOKED_AT, JobBoard
from comfyui_exporter.jobs.update import ProgressStatus
from comfyui_exporter.tracker.estimate import Forecast
from comfyui_exporter.tracker.observations import Details, Failure, Outcome
from comfyui_exporter.tracker.runs import State
from comfyui_exporter.tracker.transitions import Changed, Ended, Forgotten, Progressed, Started, Submitted
from jobs.making import Heard, entry, registration, run, view

WALL = 1_700_000_000.0


@pytest.fixture
def board():
    return JobBoard(lambda at: WALL + at, str.upper, ("project",))


@pytest.fixture
def heard(board):
    heard = Heard()
    board.add_reader(heard)
    return heard


def moment(at):
    return datetime.fromtimestamp(WALL + at, UTC)


def test_an_update_is_told_only_when_something_differs(board, heard):
    board.transitions("gpu0", [Submitted(0.0, run())])
    board.transitions("gpu0", [Changed(1.0, run())])
    assert len(heard.jobs) == 1
    board.transitions("gpu0", [Started(2.0, run(state=State.PROCESSING, started_at=2.0))])
    assert [update.status for update in heard.jobs] == ["queued", "processing"]
    assert heard.jobs[-1].updated_at == moment(2.0)
    assert heard.jobs[-1].started_at == moment(2.0)


def test_place_and_estimate_are_told_as_soon_as_they_are_known(board, heard):
    board.transitions("gpu0", [Submitted(0.0, run())])
    assert (heard.jobs[-1].queue_position, heard.jobs[-1].estimated_completion) == (None, None)
    board.view("gpu0", view(run(), forecast=Forecast({}, {"r1": 1})), 0.1)
    assert heard.jobs[-1].queue_position == 1
    board.view("gpu0", view(run(), forecast=Forecast({"r1": 60.0}, {"r1": 1})), 0.2)
    assert heard.jobs[-1].estimated_completion == moment(60.0)
    assert len(heard.jobs) == 3


def test_a_change_of_estimate_alone_waits_until_five_seconds_after_the_last_update(board, heard):
    board.transitions("gpu0", [Submitted(0.0, run())])
    board.view("gpu0", view(run(), forecast=Forecast({"r1": 60.0}, {"r1": 2})), 0.0)
    for at in (1.0, 2.0, 4.9):
        board.view("gpu0", view(run(), forecast=Forecast({"r1": 60.0 + at}, {"r1": 1})), at)
    assert len(heard.jobs) == 2
    board.view("gpu0", view(run(), forecast=Forecast({"r1": 70.0}, {"r1": 1})), LOOK_AGAIN)
    assert len(heard.jobs) == 3
    assert (heard.jobs[-1].queue_position, heard.jobs[-1].estimated_completion) == (1, moment(70.0))


def test_of_a_long_queue_the_next_jobs_are_told_first_and_the_others_in_the_looks_that_follow(board, heard):
    runs = [run(f"r{place}", prompt_id=f"p{place}") for place in range(2 * MOST_LOOKED_AT)]
    board.transitions("gpu0", [Submitted(0.0, one) for one in runs])
    heard.jobs.clear()
    places = {one.run_id: place + 1 for place, one in enumerate(runs)}
    for at in (1.0, 3.0, 5.0):
        board.view("gpu0", view(*runs, forecast=Forecast({}, places)), at)
    told = [update.queue_position for update in heard.jobs]
    assert told == list(range(1, 2 * MOST_LOOKED_AT + 1))


def test_an_unchanged_estimate_is_not_told_again(board, heard):
    board.transitions("gpu0", [Submitted(0.0, run())])
    for at in range(0, 60, 5):
        board.view("gpu0", view(run(), forecast=Forecast({"r1": 60.0}, {"r1": 1})), float(at))
    assert len(heard.jobs) == 2


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (State.QUEUED, "queued"),
        (State.PROCESSING, "processing"),
        (State.COMPLETING, "completing"),
        (State.COMPLETED, "completed"),
        (State.FAILED, "failed"),
        (State.INTERRUPTED, "cancelled"),
        (State.CANCELLED, "cancelled"),
        (State.LOST, "timeout"),
    ],
)
def test_users_see_a_state_as_this_status(board, state, status):
    board.transitions("gpu0", [Changed(0.0, run(state=state, percent=99.0))])
    update = board.find(prompt_id="p-r1")
    assert update.status == status
    assert update.terminal is state.ended
    assert (update.progress_percent == 100.0) is (state is State.COMPLETED)
    assert (update.outputs is not None) is state.ended
    assert (update.failure is not None) is (state is State.FAILED)
    assert (update.error_message is not None) is (state.ended and state is not State.COMPLETED)


def test_a_run_past_its_job_timeout_is_shown_as_timeout_until_it_ends(board):
    late = run(state=State.PROCESSING, timed_out=True)
    board.transitions("gpu0", [Changed(0.0, late)])
    assert board.find(prompt_id="p-r1").status is ProgressStatus.TIMEOUT
    assert not board.find(prompt_id="p-r1").terminal
    board.transitions("gpu0", [Ended(1.0, replace(late, state=State.COMPLETED, ended_at=1.0, entry=entry()))])
    update = board.find(prompt_id="p-r1")
    assert (update.status, update.progress_percent, update.generation_time) == ("completed", 100.0, 2.0)


def test_a_failure_says_where_and_why(board):
    failure = Failure("3", "KSampler", "torch.OutOfMemoryError", "out of memory")
    failed = run(state=State.FAILED, pattern="cuda_oom", entry=entry(Outcome.FAILED, failure=failure))
    board.transitions("gpu0", [Ended(0.0, failed)])
    update = board.find(prompt_id="p-r1")
    assert update.error_message == "out of memory"
    report = update.failure
    assert (report.pattern, report.node_id, report.node_type) == ("cuda_oom", "3", "KSampler")
    assert board.statistics.summary()["failure_patterns"] == {"unknown:CUDA_OOM": 1}


def test_a_run_without_details_is_told_to_nobody(board, heard):
    board.transitions("gpu0", [Submitted(0.0, run(detailed=False))])
    assert heard.jobs == []
    board.transitions("gpu0", [Changed(1.0, run(details=Details(job_id=7, labels=("film",))))])
    assert [update.labels for update in heard.jobs] == [{"project": "film"}]


def test_a_number_and_its_text_are_the_same_job(board):
    board.transitions("gpu0", [Submitted(0.0, run(details=Details(job_id=123)))])
    assert board.find(job_id="123") is board.find(job_id=123)
    assert board.find(job_id="0123") is None


def test_the_newest_run_of_a_prompt_is_the_one_that_is_found(board):
    board.transitions("gpu0", [Ended(0.0, run("r1", State.COMPLETED, prompt_id="p"))])
    board.transitions("gpu0", [Submitted(1.0, run("r2", prompt_id="p"))])
    assert board.find(prompt_id="p").run_id == "r2"
    board.transitions("gpu0", [Forgotten(2.0, run("r2", prompt_id="p"))])
    assert board.find(prompt_id="p").run_id == "r1"


def test_a_job_that_gets_another_id_is_found_by_that_one_alone(board):
    board.transitions("gpu0", [Submitted(0.0, run(details=Details(job_id="old")))])
    board.transitions("gpu0", [Changed(1.0, run(details=Details(job_id="new")))])
    assert board.find(job_id="old") is None
    assert board.find(job_id="new").run_id == "r1"


def test_a_registered_job_goes_with_the_server_on_which_it_is_seen(board, heard):
    for run_id, server in (("r1", None), ("r2", "gpu0"), ("r3", None)):
        wanted = registration(f"p-{run_id}", run_id, server=server)
        board.registered(wanted, 0.0, ProgressStatus.INITIALIZING)
    board.transitions("gpu1", [Submitted(1.0, run("r1")), Submitted(1.0, run("r2"))])
    board.remove_server("gpu0")
    assert heard.gone == []
    board.remove_server("gpu1")
    assert heard.gone == ["r1", "r2"]
    assert [update.run_id for update in board.jobs] == ["r3"]


def test_a_registered_job_is_initializing_and_its_run_takes_its_place(board, heard):
    board.registered(registration(job_id=9, job_type="video"), 0.0, ProgressStatus.INITIALIZING)
    board.transitions("gpu0", [Submitted(1.0, run(details=Details(job_id=9, job_type="video")))])
    assert [(update.status, update.run_id, update.server) for update in heard.jobs] == [
        ("initializing", "r1", None),
        ("queued", "r1", "gpu0"),
    ]
    assert [place for place, _ in board.page(lambda _: True, 10)] == [1]


def test_a_registration_that_is_given_up_is_removed_but_never_a_run(board, heard):
    board.registered(registration(), 0.0, ProgressStatus.INITIALIZING)
    board.unregistered(registration())
    assert heard.gone == ["r1"]
    board.transitions("gpu0", [Submitted(1.0, run())])
    board.unregistered(registration())
    assert heard.gone == ["r1"]
    assert board.find(prompt_id="p-r1") is not None


def test_a_job_that_left_memory_is_told_once_and_found_no_more(board, heard):
    board.transitions("gpu0", [Ended(0.0, run(state=State.COMPLETED, details=Details(job_id=1)))])
    board.transitions("gpu0", [Forgotten(1.0, run()), Forgotten(1.0, run())])
    assert heard.gone == ["r1"]
    assert board.find(job_id=1) is None
    assert board.find(prompt_id="p-r1") is None


def test_a_page_goes_on_where_the_last_one_ended_though_jobs_came_and_went(board):
    board.transitions("gpu0", [Submitted(0.0, run(f"r{number}")) for number in range(6)])
    first = board.page(lambda _: True, 2)
    board.transitions("gpu0", [Submitted(1.0, run("new")), Forgotten(1.0, run("r2"))])
    second = board.page(lambda _: True, 10, before=first[-1][0])
    assert [update.run_id for _, update in [*first, *second]] == ["r5", "r4", "r3", "r1", "r0"]


def test_the_jobs_of_a_server_go_with_it(board, heard):
    board.view("gpu0", view(), 0.0)
    board.view("gpu1", view(), 0.0)
    board.transitions("gpu0", [Submitted(0.0, run("a"))])
    board.transitions("gpu1", [Submitted(0.0, run("b"))])
    board.remove_server("gpu0")
    assert (heard.gone, heard.servers_gone) == (["a"], ["gpu0"])
    assert [update.run_id for update in board.jobs] == ["b"]


def test_a_server_is_told_only_when_it_differs_and_has_no_drain_while_down(board, heard):
    board.view("gpu0", view(forecast=Forecast(drain_seconds=4.04)), 0.0)
    board.view("gpu0", view(forecast=Forecast(drain_seconds=4.01)), 1.0)
    board.view("gpu0", view(up=False, forecast=Forecast(drain_seconds=4.0)), 2.0)
    assert [(update.up, update.drain_seconds) for update in heard.servers] == [(True, 4.0), (False, None)]


def test_a_late_reader_begins_with_what_is_there(board):
    board.view("gpu0", view(), 0.0)
    board.transitions("gpu0", [Submitted(0.0, run(details=Details(batch_id="b")))])
    late = Heard()
    board.add_reader(late)
    assert ([job.run_id for job in late.jobs], [batch.batch_id for batch in late.batches]) == (["r1"], ["b"])
    assert [server.server for server in late.servers] == ["gpu0"]
    board.remove_reader(late)
    board.transitions("gpu0", [Progressed(1.0, run(percent=5.0))])
    assert len(late.jobs) == 1


def test_a_job_that_moves_to_another_batch_ends_the_one_that_it_was_alone_in(board, heard):
    board.transitions("gpu0", [Submitted(0.0, run(details=Details(batch_id="a")))])
    board.transitions("gpu0", [Changed(1.0, run(details=Details(batch_id="b")))])
    assert heard.batches_gone == ["a"]
    assert board.batch("a") is None
    assert [batch.batch_id for batch in heard.batches] == ["a", "b"]


def in_batch(run_id, state=State.QUEUED, **fields):
    return run(run_id, state, details=Details(batch_id="b"), **fields)


def test_a_batch_is_weighed_by_what_its_jobs_should_take(board, heard):
    long, short = in_batch("1", State.PROCESSING, percent=50.0), in_batch("2")
    board.transitions("gpu0", [Submitted(0.0, long), Submitted(0.0, short)])
    board.view("gpu0", view(long, short, forecast=Forecast({}, {"2": 1}, seconds={"1": 90.0, "2": 10.0})), 0.0)
    assert board.batch("b").progress_percent == 25.0
    board.view("gpu0", view(long, short, forecast=Forecast({}, {"2": 1}, seconds={"1": 90.0, "2": 10.0})), LOOK_AGAIN)
    assert board.batch("b").progress_percent == 45.0
    assert [batch.progress_percent for batch in heard.batches] == [50.0, 25.0, 45.0]


def test_a_job_that_left_memory_counts_in_its_batch_until_the_last_one_left(board, heard):
    done = in_batch("1", State.COMPLETED, entry=entry())
    board.transitions("gpu0", [Ended(0.0, done), Submitted(0.0, in_batch("2"))])
    board.transitions("gpu0", [Forgotten(1.0, done)])
    assert board.batch("b").counts == {"completed": 1, "queued": 1}
    assert list(board.active_batches) == ["b"]
    ended = in_batch("2", State.FAILED)
    board.transitions("gpu0", [Ended(2.0, ended)])
    assert list(board.active_batches) == []
    assert board.batch("b").counts == {"completed": 1, "failed": 1}
    board.transitions("gpu0", [Forgotten(3.0, ended)])
    assert board.batch("b") is None
    assert heard.batches_gone == ["b"]


def test_a_batch_goes_on_after_a_restart_of_the_exporter(board, heard):
    board.restore_batch("b", {ProgressStatus.COMPLETED: 3}, 30.0, server="gpu0")
    assert board.batch("b") is None
    board.transitions("gpu0", [Submitted(0.0, in_batch("1"))])
    assert heard.batches[-1].counts == {"completed": 3, "queued": 1}
    assert list(board.batches_on("gpu0")) == [("b", {"completed": 3, "queued": 1})]
