"""Which changes of a job become calls."""

from __future__ import annotations

import json
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.jobs.board import JobBoard
from comfyui_exporter.jobs.update import ProgressStatus
from comfyui_exporter.tracker.runs import State
from comfyui_exporter.tracker.transitions import Changed, Ended, Forgotten, Progressed, Started, Submitted
from comfyui_exporter.webhooks.hooks import Hook
from comfyui_exporter.webhooks.reader import WebhookReader
from jobs.making import entry, registration, run
from push.making import update
from webhooks.making import NOON

ENDS = (ProgressStatus.COMPLETED, ProgressStatus.FAILED)
APP = "https://app.example.org/hook?token=s3cret"


class Kept:
    """An outbox that only takes."""

    def __init__(self):
        self.added = []

    def add(self, delivery):
        self.added.append(delivery)

    @property
    def told(self):
        return [(delivery.hook[:12], delivery.run_id, delivery.status) for delivery in self.added]


@pytest.fixture
def board():
    return JobBoard(lambda at: at, str)


def reading(*hooks, registered=(), board=None):
    outbox = Kept()
    numbers = count(1)
    reader = WebhookReader(hooks, registered, outbox, lambda: NOON, lambda: f"msg_{next(numbers)}")
    if board is not None:
        reader.attach(board)
    return reader, outbox


def test_a_hook_is_told_the_statuses_that_it_chose_and_each_change_once():
    hook = Hook("http://a/x", {ProgressStatus.PROCESSING, ProgressStatus.COMPLETED})
    reader, outbox = reading(hook)
    for status, percent in [("queued", 0), ("processing", 1), ("processing", 50), ("completing", 99)]:
        reader.job(update(status=status, percent=percent))
    for _ in range(2):
        reader.job(update(status="completed", percent=100))
    assert [delivery.status for delivery in outbox.added] == ["processing", "completed"]
    assert {(delivery.url, delivery.hook) for delivery in outbox.added} == {("http://a/x", hook.key)}


def test_a_job_that_passed_its_time_and_completed_later_is_told_twice():
    reader, outbox = reading(Hook("http://a", set(ProgressStatus) - {ProgressStatus.PROCESSING}))
    for status in ("processing", "timeout", "timeout", "completed"):
        reader.job(update(status=status))
    assert [delivery.status for delivery in outbox.added] == ["timeout", "completed"]


def test_the_body_is_the_update_as_push_clients_see_it_with_the_id_of_the_delivery():
    reader, outbox = reading(Hook("http://a", ENDS))
    reader.job(update(status="failed", job_id=7, error_message="half a pair \ud800 and ü"))
    (delivery,) = outbox.added
    body = json.loads(delivery.body)
    assert (body["type"], body["id"], body["timestamp"]) == ("progress_update", "msg_1", "2026-01-01T12:00:00+00:00")
    assert (body["data"]["job_id"], body["data"]["status"], body["data"]["run_id"]) == (7, "failed", "r1")
    assert body["data"]["error_message"].endswith("and ü")
    assert (delivery.created_at, delivery.next_at, delivery.attempts) == (NOON, NOON, 0)


def test_what_the_board_shows_when_it_begins_is_no_change(board):
    board.transitions("gpu0", [Submitted(1.0, run()), Started(2.0, run(state=State.PROCESSING))])
    board.transitions("gpu0", [Ended(1.0, run("r2", State.COMPLETED, entry=entry()))])
    _, outbox = reading(Hook("http://a", set(ProgressStatus)), board=board)
    assert outbox.added == []
    board.transitions("gpu0", [Progressed(3.0, run(state=State.PROCESSING, percent=30.0))])
    assert outbox.added == []
    board.transitions("gpu0", [Ended(4.0, run(state=State.COMPLETED, entry=entry()))])
    assert [(each.run_id, each.status) for each in outbox.added] == [("r1", "completed")]


def test_a_run_that_left_memory_is_remembered_no_more(board):
    reader, _ = reading(Hook("http://a", ENDS), board=board)
    ended = run(state=State.COMPLETED, entry=entry())
    board.transitions("gpu0", [Ended(1.0, ended), Forgotten(2.0, ended)])
    assert reader._told == {}


def test_a_failing_outbox_disturbs_no_other_reader(board, caplog):
    _, outbox = reading(Hook("http://a", ENDS), board=board)
    outbox.add = None
    board.transitions("gpu0", [Ended(1.0, run(state=State.COMPLETED, entry=entry()))])
    assert board.find(prompt_id="p-r1").status is ProgressStatus.COMPLETED
    assert caplog.records[0].getMessage() == "a webhook call could not be made up"


# URLs of registrations


def test_the_url_of_a_registration_is_called_from_the_registration_to_the_end(board):
    _, outbox = reading(registered=set(ProgressStatus), board=board)
    registered = registration(webhook_url=APP)
    board.registered(registered, 1.0, ProgressStatus.INITIALIZING)
    board.transitions("gpu0", [Submitted(2.0, run(registration=registered))])
    board.transitions("gpu0", [Ended(3.0, run(state=State.COMPLETED, entry=entry(), registration=registered))])
    assert outbox.told == [("registration", "r1", status) for status in ("initializing", "queued", "completed")]
    assert {delivery.url for delivery in outbox.added} == {APP}
    assert "s3cret" not in "".join(delivery.body for delivery in outbox.added)
    assert "s3cret" not in str(board.find(prompt_id="p-r1"))


def test_a_job_that_had_ended_when_it_was_registered_is_told_at_once(board):
    _, outbox = reading(Hook("http://a", ENDS), registered=ENDS, board=board)
    ended = run(state=State.COMPLETED, entry=entry())
    board.transitions("gpu0", [Ended(1.0, ended)])
    outbox.added.clear()
    # Nothing that readers see of it changes.
    late = run(state=State.COMPLETED, entry=entry(), registration=registration(job_id=None, webhook_url=APP))
    board.transitions("gpu0", [Changed(2.0, late)])
    board.transitions("gpu0", [Changed(3.0, late)])
    assert outbox.told == [("registration", "r1", "completed")]


def test_jobs_without_a_url_and_statuses_that_are_not_wanted_are_not_told(board):
    _, outbox = reading(registered=ENDS, board=board)
    board.transitions("gpu0", [Ended(1.0, run("r2", State.COMPLETED, entry=entry()))])
    board.transitions("gpu0", [Submitted(1.0, run(registration=registration(webhook_url=APP)))])
    assert outbox.added == []


def test_urls_that_an_earlier_configuration_allowed_are_not_called_when_it_is_off(board):
    _, outbox = reading(Hook("http://a", ENDS), board=board)
    known = registration(webhook_url=APP)
    board.transitions("gpu0", [Ended(1.0, run(state=State.COMPLETED, entry=entry(), registration=known))])
    assert [delivery.url for delivery in outbox.added] == ["http://a"]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(ProgressStatus), st.integers(0, 99))),
    st.sets(st.sampled_from(ProgressStatus)),
)
def test_each_change_to_a_wanted_status_is_told_once_whatever_comes(updates, wanted):
    reader, outbox = reading(Hook("http://a", wanted))
    expected, last = [], {}
    for run_id, status, percent in updates:
        reader.job(update(run_id, status, percent))
        if last.get(run_id) is not status and status in wanted:
            expected.append((run_id, status.value))
        last[run_id] = status
    assert [(delivery.run_id, delivery.status) for delivery in outbox.added] == expected
    assert len({delivery.delivery_id for delivery in outbox.added}) == len(expected)
