"""What the tracker makes of observations, one rule at a time."""

from __future__ import annotations

import itertools

import pytest

from comfyui_exporter.tracker.observations import (
    Details,
    Failure,
    HistoryEntry,
    HistoryLookup,
    HistoryPage,
    Outcome,
    QueueItem,
    QueueRead,
    Restarted,
    Tick,
)
from comfyui_exporter.tracker.runs import State
from comfyui_exporter.tracker.tracker import DEAF_STALL_FACTOR, Timing, Tracker
from comfyui_exporter.tracker.transitions import Changed, Ended, Forgotten, Started, Submitted, TimedOut, Transition


def make_tracker(**timing: float) -> Tracker:
    ids = itertools.count(1)
    return Tracker(lambda: f"run{next(ids)}", lambda *_: "cuda_oom", Timing(**timing))  # type: ignore[arg-type]


def item(prompt_id: str, number: float = 0.0, details: Details | None = None) -> QueueItem:
    return QueueItem(prompt_id, number, details or Details())


def queue(at: float, running: list[QueueItem], pending: list[QueueItem], *, complete: bool = True) -> QueueRead:
    return QueueRead(at, tuple(running), tuple(pending), complete)


def entry(prompt_id: str, number: float = 0.0, started: int | None = 1000, took: int = 2000) -> HistoryEntry:
    ended = None if started is None else started + took
    return HistoryEntry(prompt_id, number, Outcome.COMPLETED, started_ms=started, ended_ms=ended)


def kinds(changes: list[Transition]) -> list[tuple[str, str]]:
    return [
        (type(change).__name__, change.run.prompt_id)
        for change in changes
        if isinstance(change, Submitted | Started | Changed | TimedOut | Ended | Forgotten)
    ]


def states(tracker: Tracker) -> dict[str, State]:
    return {run.prompt_id: run.state for run in tracker.open_runs}


def test_a_job_is_submitted_started_and_ended_once_each() -> None:
    tracker = make_tracker()
    assert kinds(tracker.apply(queue(1, [item("a")], [item("b", 1)]))) == [
        ("Submitted", "a"),
        ("Started", "a"),
        ("Submitted", "b"),
    ]
    assert tracker.apply(queue(2, [item("a")], [item("b", 1)])) == []
    assert kinds(tracker.apply(HistoryLookup(3, "a", entry("a")))) == [("Ended", "a"), ("Started", "b")]
    assert tracker.apply(HistoryLookup(4, "a", entry("a"))) == []
    assert tracker.apply(HistoryPage(5, (entry("a"),))) == []


def test_the_duration_is_what_comfyui_says_not_what_we_saw() -> None:
    tracker = make_tracker()
    tracker.apply(queue(100, [item("a")], []))
    (ended,) = tracker.apply(HistoryLookup(900, "a", entry("a", started=50_000, took=2500)))
    assert isinstance(ended, Ended)
    assert ended.run.duration == 2.5


def test_a_clock_that_jumped_back_gives_no_duration_instead_of_a_negative_one() -> None:
    tracker = make_tracker()
    (_, ended) = tracker.apply(HistoryPage(1, (entry("a", started=5000, took=-1),)))
    assert isinstance(ended, Ended)
    assert ended.run.duration is None


def test_the_wait_is_measured_on_one_clock_only() -> None:
    tracker = make_tracker()
    tracker.apply(queue(0, [], []))
    created = Details(created_ms=4000)
    tracker.apply(queue(10, [item("a", 0, created)], [item("b", 1)]))
    a, _ = tracker.apply(HistoryLookup(13, "a", entry("a", started=5500)))
    b = tracker.apply(HistoryLookup(20, "b", entry("b", 1, started=9000)))[0]
    assert isinstance(a, Ended)
    assert isinstance(b, Ended)
    assert a.run.queue_wait == 1.5  # create_time to execution_start, both of ComfyUI
    assert b.run.queue_wait == 3.0  # first seen at 10, presumed to start at 13, both of ours


def test_what_was_waiting_at_the_first_look_has_no_wait_of_its_own() -> None:
    tracker = make_tracker()
    tracker.apply(queue(10, [item("a")], [item("b", 1)]))
    tracker.apply(HistoryLookup(13, "a", entry("a")))
    (ended,) = tracker.apply(HistoryLookup(20, "b", entry("b", 1, started=9000)))
    assert isinstance(ended, Ended)
    assert ended.run.queue_wait is None


def test_nothing_up_to_the_mark_of_the_first_look_is_counted() -> None:
    tracker = make_tracker()
    tracker.begin(entry("old", 7, started=9000))
    page = (entry("older", 6, started=8000), entry("old", 7, started=9000), entry("new", 8, started=9500))
    assert kinds(tracker.apply(HistoryPage(1, page))) == [("Submitted", "new"), ("Ended", "new")]


def test_entries_from_before_stay_uncounted_when_the_mark_was_deleted() -> None:
    tracker = make_tracker()
    tracker.begin(entry("old", 7, started=9000))
    page = (entry("older", 6, started=8000), entry("new", 8, started=9500))
    assert kinds(tracker.apply(HistoryPage(1, page))) == [("Submitted", "new"), ("Ended", "new")]


def test_with_an_empty_history_at_the_first_look_everything_counts() -> None:
    tracker = make_tracker()
    tracker.begin(None)
    assert kinds(tracker.apply(HistoryPage(1, (entry("a"), entry("b", 1, 2000))))) == [
        ("Submitted", "a"),
        ("Ended", "a"),
        ("Submitted", "b"),
        ("Ended", "b"),
    ]


def test_a_reused_prompt_id_is_a_second_run() -> None:
    tracker = make_tracker()
    tracker.apply(HistoryPage(1, (entry("a", 1, started=1000),)))
    tracker.apply(queue(2, [item("a", 2)], []))
    changes = tracker.apply(HistoryLookup(3, "a", entry("a", 2, started=5000)))
    assert kinds(changes) == [("Ended", "a")]
    assert len(tuple(tracker.finished_runs)) == 2


def test_the_old_entry_of_a_reused_prompt_id_does_not_end_its_second_run() -> None:
    tracker = make_tracker()
    tracker.apply(HistoryPage(1, (entry("a", 1, started=1000),)))
    tracker.apply(queue(2, [item("a", 2)], []))
    assert tracker.apply(HistoryLookup(3, "a", entry("a", 1, started=1000))) == []
    assert states(tracker) == {"a": State.PROCESSING}


def test_identical_queue_items_are_as_many_runs() -> None:
    tracker = make_tracker()
    twins = [item("a", 5), item("a", 5)]
    assert kinds(tracker.apply(queue(1, [], twins))).count(("Submitted", "a")) == 2
    assert tracker.count_detailed("a", 5) == 2
    tracker.apply(queue(2, [item("a", 5)], [item("a", 5)]))
    assert kinds(tracker.apply(HistoryLookup(3, "a", entry("a", 5, started=1000)))) == [
        ("Ended", "a"),
        ("Started", "a"),
    ]
    assert kinds(tracker.apply(HistoryLookup(4, "a", entry("a", 5, started=2000)))) == [("Ended", "a")]


def test_pending_jobs_run_in_the_order_of_number_and_prompt_id() -> None:
    tracker = make_tracker()
    heap = [item("a", -48), item("b", -47), item("c", -3.0), item("y", 43), item("z", 46), item("d", 7.5)]
    tracker.apply(queue(1, [item("r", 42)], heap))
    order = []
    for number in range(7):
        running = tracker.likely_running()
        assert running is not None
        order.append(running.number)
        tracker.apply(HistoryLookup(2 + number, running.prompt_id, entry(running.prompt_id, running.number)))
    assert order == [42, -48, -47, -3.0, 7.5, 43, 46]


def test_a_presumed_start_is_taken_back_when_another_job_runs() -> None:
    tracker = make_tracker()
    tracker.apply(queue(1, [item("a")], [item("b", 1)]))
    tracker.apply(HistoryLookup(2, "a", entry("a")))
    assert states(tracker) == {"b": State.PROCESSING}
    tracker.apply(queue(3, [item("front", -1)], [item("b", 1)]))
    assert states(tracker) == {"b": State.QUEUED, "front": State.PROCESSING}


def test_a_moment_with_nothing_running_is_no_fault() -> None:
    tracker = make_tracker()
    tracker.apply(queue(1, [], [item("a")]))
    assert states(tracker) == {"a": State.PROCESSING}
    assert tracker.apply(queue(2, [], [item("a")])) == []


@pytest.mark.parametrize(
    ("seen_running", "end"), [(True, State.LOST), (False, State.CANCELLED)], ids=["seen running", "never seen running"]
)
def test_a_job_that_is_in_neither_queue_nor_history_ends_after_the_grace(seen_running: bool, end: State) -> None:
    tracker = make_tracker(job_grace=30)
    tracker.apply(queue(1, [item("r")], []) if not seen_running else queue(1, [item("a", 1)], []))
    if not seen_running:
        tracker.apply(queue(2, [item("r")], [item("a", 1)]))
    tracker.apply(queue(10, [item("r")], []))
    assert tracker.due_lookups(10) == ["a"]
    assert tracker.apply(HistoryLookup(11, "a", None)) == []
    assert tracker.due_lookups(12) == []
    assert tracker.apply(HistoryLookup(40.9, "a", None)) == []
    assert tracker.due_lookups(41) == ["a"]
    (ended,) = tracker.apply(HistoryLookup(41, "a", None))
    assert isinstance(ended, Ended)
    assert ended.run.state is end


def test_a_lost_job_that_turns_up_later_is_not_counted_again() -> None:
    tracker = make_tracker(job_grace=0)
    tracker.apply(queue(1, [item("a")], []))
    tracker.apply(queue(2, [], []))
    tracker.apply(HistoryLookup(3, "a", None))
    tracker.apply(HistoryLookup(4, "a", None))
    assert tracker.apply(HistoryPage(5, (entry("a"),))) == []


def test_a_job_that_is_listed_again_was_never_gone() -> None:
    tracker = make_tracker(job_grace=0)
    tracker.apply(queue(1, [item("r")], [item("a", 1)]))
    tracker.apply(queue(2, [item("r")], []))
    tracker.apply(HistoryLookup(3, "a", None))
    tracker.apply(queue(4, [item("r")], [item("a", 1)]))
    assert tracker.due_lookups(100) == []
    assert states(tracker)["a"] is State.QUEUED


def test_absence_from_a_queue_that_was_read_in_part_proves_nothing() -> None:
    tracker = make_tracker()
    tracker.apply(queue(1, [item("r")], [item("a", 1)]))
    tracker.apply(queue(2, [item("r")], [], complete=False))
    assert tracker.due_lookups(2) == []


def test_a_restart_loses_what_was_open_even_if_it_never_ran() -> None:
    tracker = make_tracker(job_grace=10)
    tracker.apply(queue(1, [item("a")], [item("b", 1)]))
    tracker.apply(Restarted(5))
    assert tracker.due_lookups(5) == ["a", "b"]
    for at in (5.0, 15.0):
        for prompt_id in ("a", "b"):
            tracker.apply(HistoryLookup(at, prompt_id, None))
    assert [run.state for run in tracker.finished_runs] == [State.LOST, State.LOST]


def test_after_a_restart_the_same_id_and_number_is_another_job() -> None:
    tracker = make_tracker(job_grace=10)
    tracker.apply(queue(1, [item("a", 0)], []))
    tracker.apply(Restarted(5))
    assert kinds(tracker.apply(queue(6, [item("a", 0)], [])))[0] == ("Submitted", "a")
    assert kinds(tracker.apply(HistoryLookup(7, "a", entry("a", 0, started=70_000)))) == [("Ended", "a")]
    (ended,) = tracker.apply(HistoryLookup(17, "a", entry("a", 0, started=70_000)))
    assert isinstance(ended, Ended)
    assert ended.run.state is State.LOST


def test_a_failure_gets_its_pattern() -> None:
    tracker = make_tracker()
    failed = HistoryEntry(
        "a", 0, Outcome.FAILED, started_ms=1, ended_ms=2, failure=Failure("3", "KSampler", "E", "oom")
    )
    ended = tracker.apply(HistoryPage(1, (failed,)))[-1]
    assert isinstance(ended, Ended)
    assert (ended.run.state, ended.run.pattern) == (State.FAILED, "cuda_oom")


def test_running_past_the_timeout_is_told_once_and_is_no_end() -> None:
    tracker = make_tracker(job_timeout=60)
    tracker.apply(queue(0, [item("a")], []))
    assert kinds(tracker.apply(Tick(60))) == []
    assert kinds(tracker.apply(Tick(61))) == [("TimedOut", "a")]
    assert kinds(tracker.apply(Tick(62))) == []
    assert kinds(tracker.apply(HistoryLookup(70, "a", entry("a")))) == [("Ended", "a")]


def test_a_dead_worker_shows_as_a_stall_after_a_long_silence() -> None:
    tracker = make_tracker(stall_timeout=10)
    tracker.apply(queue(0, [item("a")], [item("b", 1)]))
    silence = 10.0 * DEAF_STALL_FACTOR
    assert tracker.apply(Tick(silence)) == []
    (change,) = tracker.apply(Tick(silence + 1))
    assert isinstance(change, Changed)
    assert (change.run.prompt_id, change.run.stalled) == ("a", True)
    assert tracker.apply(queue(silence + 2, [item("a")], [item("b", 1), item("c", 2)]))  # only the submission
    assert [run.stalled for run in tracker.open_runs] == [True, False, False]


def test_submissions_and_deletions_are_no_activity() -> None:
    tracker = make_tracker(job_grace=0)
    tracker.apply(queue(0, [item("a")], []))
    tracker.apply(queue(5, [item("a")], [item("b", 1)]))
    tracker.apply(queue(6, [item("a")], []))
    tracker.apply(HistoryLookup(7, "b", None))
    tracker.apply(HistoryLookup(8, "b", None))
    assert tracker.last_activity == 0


def test_finished_runs_are_forgotten_by_age_and_by_number() -> None:
    tracker = make_tracker(keep_finished=100, max_finished=2)
    for number in range(3):
        tracker.apply(HistoryPage(number, (entry(f"p{number}", number, started=1000 + number),)))
    assert kinds(tracker.apply(Tick(3))) == [("Forgotten", "p0")]
    assert kinds(tracker.apply(Tick(101.5))) == [("Forgotten", "p1")]
    assert kinds(tracker.apply(HistoryPage(102, (entry("p0", 0, started=1000),)))) == []
