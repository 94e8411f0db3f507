"""What events make of runs: they are hints, heard at once, and never the last word."""

from __future__ import annotations

import itertools

from comfyui_exporter.tracker.estimate import Estimate
from comfyui_exporter.tracker.observations import (
    Details,
    EventsMissed,
    ExecutionBegan,
    ExecutionOver,
    Graph,
    GraphNode,
    HistoryEntry,
    HistoryLookup,
    HistoryPage,
    NodeHeard,
    NodesHeard,
    NodeState,
    Outcome,
    QueueItem,
    QueueRead,
    Restarted,
    Tick,
)
from comfyui_exporter.tracker.registration import Registration
from comfyui_exporter.tracker.runs import Run, State
from comfyui_exporter.tracker.tracker import ATTACH_WITHIN, DEAF_STALL_ESTIMATES, DEAF_STALL_FACTOR, Timing, Tracker
from comfyui_exporter.tracker.transitions import (
    Changed,
    Ended,
    NodeTimed,
    Progressed,
    Started,
    Submitted,
    Transition,
)

GRAPH = Graph({"1": GraphNode("Load"), "2": GraphNode("KSampler", ("1",)), "3": GraphNode("Save", ("2",))}, "shape")


def make_tracker(
    estimate: Estimate | None = None, registrations: dict[str, Registration] | None = None, **timing: float
) -> Tracker:
    ids = itertools.count(1)
    waiting = {} if registrations is None else registrations
    return Tracker(
        lambda: f"run{next(ids)}",
        lambda *_: "unknown",
        Timing(**timing),  # type: ignore[arg-type]
        lambda _run: estimate,
        lambda prompt_id: waiting.pop(prompt_id, None),
    )


def queue(at: float, running: str = "", pending: str = "", *, since: float | None = None) -> QueueRead:
    """A read of the queue in which each job is one letter, and its number the place in the alphabet."""
    columns = (
        tuple(QueueItem(name, ord(name) - ord("a"), Details(graph=GRAPH)) for name in told)
        for told in (running, pending)
    )
    return QueueRead(at, next(columns), next(columns), since=at if since is None else since)


def steps(at: float, prompt_id: str, value: float = 0.0, most: float = 20.0) -> NodesHeard:
    return NodesHeard(at, prompt_id, (NodeHeard("2", NodeState.RUNNING, value, most, "2"),), whole=True)


def entry(prompt_id: str, started: int = 1000) -> HistoryEntry:
    number = ord(prompt_id) - ord("a")
    return HistoryEntry(prompt_id, number, Outcome.COMPLETED, started_ms=started, ended_ms=started + 2000)


def states(tracker: Tracker) -> dict[str, State]:
    return {run.prompt_id: run.state for run in tracker.open_runs}


def only(tracker: Tracker) -> Run:
    (run,) = tracker.open_runs
    return run


def kinds(changes: list[Transition]) -> list[tuple[str, str]]:
    told = (Submitted, Started, Changed, Ended)
    return [(type(change).__name__, change.run.prompt_id) for change in changes if isinstance(change, told)]


# Running


def test_an_event_shows_a_run_as_running_before_any_read_does() -> None:
    tracker = make_tracker()
    tracker.apply(queue(1, "a", "bc"))
    changes = tracker.apply(ExecutionBegan(2, "c"))
    assert kinds(changes) == [("Started", "c")]
    run = next(run for run in tracker.open_runs if run.prompt_id == "c")
    assert (run.state, run.heard_at, run.started_at, run.start_seen) == (State.PROCESSING, 2, 2, True)
    assert not run.seen_running


def test_what_was_only_presumed_to_run_waits_when_another_is_heard() -> None:
    tracker = make_tracker()
    tracker.apply(queue(1, "", "ab"))
    assert states(tracker) == {"a": State.PROCESSING, "b": State.QUEUED}
    tracker.apply(steps(2, "b"))
    assert states(tracker) == {"a": State.QUEUED, "b": State.PROCESSING}


def test_a_run_is_heard_to_start_once() -> None:
    tracker = make_tracker()
    tracker.apply(queue(1, "", "ab"))
    tracker.apply(steps(2, "b"))
    assert kinds(tracker.apply(steps(3, "b", 1))) == []
    assert kinds(tracker.apply(queue(4, "b", "a"))) == [("Changed", "b")]  # now a read shows it as well
    assert kinds(tracker.apply(steps(5, "b", 2))) == []


def test_a_read_that_was_asked_for_before_does_not_put_it_back() -> None:
    tracker = make_tracker()
    tracker.apply(queue(1, "a", "b"))
    tracker.apply(steps(5, "b"))
    assert kinds(tracker.apply(queue(6, "a", "b", since=4))) == []
    assert states(tracker)["b"] is State.PROCESSING


def test_a_newer_read_that_shows_another_running_puts_it_back() -> None:
    tracker = make_tracker()
    tracker.apply(queue(1, "a", "b"))
    tracker.apply(steps(5, "b"))
    assert kinds(tracker.apply(queue(7, "a", "b", since=6))) == [("Changed", "b")]
    (run,) = (run for run in tracker.open_runs if run.prompt_id == "b")
    assert (run.state, run.started_at, run.heard_at) == (State.QUEUED, None, None)


def test_a_newer_read_that_shows_it_running_says_the_same() -> None:
    tracker = make_tracker()
    tracker.apply(queue(1, "", "a"))
    tracker.apply(steps(5, "a"))
    tracker.apply(queue(7, "a", since=6))
    assert (only(tracker).seen_running, only(tracker).started_at) == (True, 1)


def test_the_end_that_an_event_tells_of_is_none_before_the_history_says_so() -> None:
    tracker = make_tracker()
    tracker.apply(queue(1, "a"))
    assert tracker.apply(ExecutionOver(2, "a")) == []
    assert states(tracker) == {"a": State.PROCESSING}
    assert kinds(tracker.apply(HistoryLookup(3, "a", entry("a")))) == [("Ended", "a")]


def test_what_is_told_late_of_a_run_that_left_the_queue_is_no_news() -> None:
    tracker = make_tracker()
    tracker.apply(queue(1, "a", "bc"))
    tracker.apply(queue(2, "", "bc"))
    assert states(tracker) == {"a": State.COMPLETING, "b": State.PROCESSING, "c": State.QUEUED}
    assert kinds(tracker.apply(steps(3, "a", 20))) == []
    assert states(tracker) == {"a": State.COMPLETING, "b": State.PROCESSING, "c": State.QUEUED}


def test_events_after_a_restart_are_not_of_the_runs_before_it() -> None:
    tracker = make_tracker()
    tracker.apply(queue(1, "a"))
    tracker.apply(Restarted(2))
    assert kinds(tracker.apply(steps(3, "a"))) == []
    assert states(tracker) == {"a": State.COMPLETING}


# Names


def test_an_event_of_an_unknown_prompt_only_names_it() -> None:
    tracker = make_tracker()
    assert tracker.apply(steps(1, "a")) == []
    assert list(tracker.open_runs) == []
    assert tuple(tracker.hearing.named) == ("a",)
    tracker.hearing.looked_up("a")
    assert tuple(tracker.hearing.named) == ()


def test_an_end_of_an_unknown_prompt_does_not_even_name_it() -> None:
    tracker = make_tracker()
    assert tracker.apply(ExecutionOver(1, "a")) == []
    assert tuple(tracker.hearing.named) == ()


def test_names_and_what_is_heard_of_them_are_bounded() -> None:
    tracker = make_tracker()
    for i in range(10_000):
        tracker.apply(steps(i, f"p{i}"))
    assert len(tuple(tracker.hearing.named)) <= 200
    assert sum(tracker.hearing.progress_of(f"p{i}") is not None for i in range(10_000)) <= 64
    assert sum(tracker.hearing.heard_at(f"p{i}") is not None for i in range(10_000)) <= 64


def test_what_was_heard_before_the_first_read_counts_once_there_is_a_run() -> None:
    tracker = make_tracker()
    tracker.apply(steps(1, "a", 10))
    tracker.apply(queue(2, "a"))
    tracker.apply(steps(3, "a", 11))
    progress = only(tracker).progress
    assert (progress.step, progress.steps, progress.estimated) == (11, 20, False)
    assert progress.percent > 0


# Twins


def twins(at: float, running: int, pending: int) -> QueueRead:
    twin = QueueItem("a", 0, Details())
    return QueueRead(at, (twin,) * running, (twin,) * pending, since=at)


def test_twins_are_submitted_and_ended_once_each_whatever_is_heard() -> None:
    tracker = make_tracker()
    changes = tracker.apply(twins(1, 0, 2))
    changes += tracker.apply(steps(2, "a"))
    changes += tracker.apply(twins(3, 0, 2))
    changes += tracker.apply(steps(4, "a", 2))
    changes += tracker.apply(twins(5, 1, 1))
    changes += tracker.apply(HistoryPage(6, (HistoryEntry("a", 0, Outcome.COMPLETED, started_ms=1),)))
    changes += tracker.apply(ExecutionBegan(7, "a"))
    changes += tracker.apply(twins(8, 0, 1))
    changes += tracker.apply(twins(9, 1, 0))
    changes += tracker.apply(HistoryPage(10, (HistoryEntry("a", 0, Outcome.COMPLETED, started_ms=2),)))
    assert [kind for kind, _ in kinds(changes) if kind in {"Submitted", "Ended"}] == [
        *["Submitted"] * 2,
        *["Ended"] * 2,
    ]
    assert list(tracker.open_runs) == []


def test_of_twins_the_one_that_was_heard_is_the_one_that_left() -> None:
    tracker = make_tracker()
    tracker.apply(twins(1, 0, 2))
    tracker.apply(steps(2, "a"))
    heard = next(run.run_id for run in tracker.open_runs if run.heard_at is not None)
    tracker.apply(twins(3, 0, 1))
    assert [run.run_id for run in tracker.open_runs if run.state is State.COMPLETING] == [heard]


# Stalls


def test_a_heard_run_is_flagged_after_silence_and_only_once() -> None:
    tracker = make_tracker(stall_timeout=10)
    tracker.apply(queue(0, "a"))
    tracker.apply(steps(1, "a"))
    assert kinds(tracker.apply(Tick(11))) == []
    (change,) = tracker.apply(Tick(11.5))
    assert isinstance(change, Changed)
    assert change.run.stalled
    for at in (12, 13, 200):
        assert tracker.apply(Tick(at)) == []
        assert only(tracker).stalled


def test_the_next_event_takes_the_flag_away() -> None:
    tracker = make_tracker(stall_timeout=10)
    tracker.apply(queue(0, "a"))
    tracker.apply(steps(1, "a"))
    tracker.apply(Tick(20))
    assert only(tracker).stalled
    (change,) = tracker.apply(steps(21, "a"))  # at the same step even
    assert isinstance(change, Progressed)
    assert not only(tracker).stalled
    assert tracker.apply(Tick(30)) == []


def test_a_deaf_run_is_given_three_times_its_longest_estimate() -> None:
    tracker = make_tracker(Estimate(50, 60, 100), stall_timeout=10)
    tracker.apply(queue(0, "a"))
    tracker.apply(Tick(DEAF_STALL_ESTIMATES * 100))
    assert not only(tracker).stalled
    tracker.apply(Tick(DEAF_STALL_ESTIMATES * 100 + 1))
    assert only(tracker).stalled


def test_a_deaf_run_of_a_short_kind_is_given_the_stall_timeout_all_the_same() -> None:
    tracker = make_tracker(Estimate(0.1, 0.2, 0.3), stall_timeout=10)
    tracker.apply(queue(0, "a"))
    tracker.apply(Tick(10))
    assert not only(tracker).stalled
    tracker.apply(Tick(11))
    assert only(tracker).stalled


def test_a_run_whose_events_may_have_been_missed_counts_as_deaf() -> None:
    tracker = make_tracker(stall_timeout=10)
    tracker.apply(queue(0, "a"))
    tracker.apply(steps(1, "a"))
    tracker.apply(EventsMissed(2))
    tracker.apply(Tick(10 * DEAF_STALL_FACTOR))
    assert not only(tracker).stalled
    tracker.apply(Tick(10 * DEAF_STALL_FACTOR + 2))
    assert only(tracker).stalled


def test_a_deaf_run_comes_nearer_to_its_end_without_reaching_it() -> None:
    tracker = make_tracker(Estimate(50, 100, 200), stall_timeout=1e6)
    tracker.apply(queue(0, "a"))
    told = [0.0]
    for at in (10, 50, 89, 90, 91, 100, 150, 1_000, 100_000):
        tracker.apply(Tick(at))
        told.append(only(tracker).progress.percent)
        assert only(tracker).progress.estimated
    assert told == sorted(told)
    assert told[2] == 47.5
    assert 98 < told[-1] <= 99


# Ends


def test_a_run_that_was_only_heard_to_run_is_lost_and_not_cancelled() -> None:
    tracker = make_tracker(job_grace=0)
    tracker.apply(queue(0, "", "ab"))
    tracker.apply(steps(1, "b"))
    tracker.apply(queue(2))
    ends: list[Run] = []
    for at in (3, 4):
        for prompt_id in ("a", "b"):
            ends += [
                change.run for change in tracker.apply(HistoryLookup(at, prompt_id, None)) if isinstance(change, Ended)
            ]
    assert {run.prompt_id: run.state for run in ends} == {"a": State.CANCELLED, "b": State.LOST}


def test_the_nodes_of_a_run_are_told_after_its_end_too() -> None:
    tracker = make_tracker()
    tracker.apply(queue(0, "a"))
    tracker.apply(steps(1, "a", 3))
    (during,) = tracker.open_runs
    told = {node.node_id: node.state for node in tracker.nodes_of(during, 2)}
    assert told == {"1": "cached", "2": "running", "3": "pending"}
    (ended,) = tracker.apply(HistoryLookup(3, "a", entry("a")))
    assert isinstance(ended, Ended)
    assert {node.node_id for node in tracker.nodes_of(ended.run, 9)} == {"1", "2", "3"}


# Registration


def registered(prompt_id: str = "a", job_id: int | str | None = 7) -> Registration:
    return Registration("given", prompt_id, job_id, job_type="portrait", batch_id="b1")


def test_an_open_run_takes_what_is_registered_for_it() -> None:
    tracker = make_tracker()
    tracker.apply(queue(0, "a"))
    changes = tracker.attach(1, registered())
    assert changes is not None
    assert kinds(changes) == [("Changed", "a")]
    run = only(tracker)
    assert (run.registered, run.run_id) == (True, "run1")
    assert (run.details.job_id, run.details.job_type, run.details.batch_id) == (7, "portrait", "b1")
    assert run.details.graph is GRAPH


def test_what_is_not_registered_stays_as_it_was_sent() -> None:
    tracker = make_tracker()
    tracker.apply(QueueRead(0, (QueueItem("a", 0, Details(job_id=3, job_type="sent")),), ()))
    tracker.attach(1, Registration("given", "a", None))
    assert (only(tracker).details.job_id, only(tracker).details.job_type) == (3, "sent")


def test_a_run_that_ended_lately_takes_it_too_and_one_of_long_ago_does_not() -> None:
    for after, takes in ((ATTACH_WITHIN, True), (ATTACH_WITHIN + 1, False)):
        tracker = make_tracker()
        tracker.apply(queue(0, "a"))
        tracker.apply(HistoryLookup(10, "a", entry("a")))
        changes = tracker.attach(10 + after, registered())
        assert (changes is not None) == takes
        (run,) = tracker.finished_runs
        assert (run.registered, run.details.job_id) == ((True, 7) if takes else (False, None))


def test_an_ended_run_is_registered_once() -> None:
    tracker = make_tracker()
    tracker.apply(queue(0, "a"))
    tracker.apply(HistoryLookup(10, "a", entry("a")))
    assert tracker.attach(11, registered()) is not None
    assert tracker.attach(12, registered(job_id=8)) is None


def test_a_registration_said_once_more_for_a_run_that_ended_changes_nothing() -> None:
    tracker = make_tracker()
    tracker.apply(queue(0, "a"))
    tracker.attach(1, registered())
    tracker.apply(HistoryLookup(10, "a", entry("a")))
    assert tracker.attach(11, registered()) == []


def test_of_two_ended_runs_of_one_prompt_the_later_takes_it() -> None:
    tracker = make_tracker()
    tracker.apply(HistoryPage(1, (entry("a", 1000),)))
    tracker.apply(HistoryPage(5, (entry("a", 9000),)))
    tracker.attach(6, registered())
    assert [run.registered for run in tracker.finished_runs] == [False, True]


def test_nothing_takes_what_is_registered_for_a_prompt_that_was_not_seen() -> None:
    assert make_tracker().attach(1, registered()) is None


def test_a_run_that_comes_later_claims_what_was_registered_for_it_and_its_run_id() -> None:
    tracker = make_tracker(registrations={"a": registered()})
    changes = tracker.apply(queue(0, "a", "b"))
    submitted = [change.run for change in changes if isinstance(change, Submitted)]
    assert [(run.run_id, run.registered, run.details.job_id) for run in submitted] == [
        ("given", True, 7),
        ("run1", False, None),
    ]


def test_what_is_known_of_it_only_later_does_not_undo_what_was_registered() -> None:
    tracker = make_tracker(registrations={"a": registered()})
    tracker.apply(QueueRead(0, (QueueItem("a", 0, None),), ()))
    (submitted,) = (
        change
        for change in tracker.apply(QueueRead(1, (QueueItem("a", 0, Details(job_id=3, job_type="sent")),), ()))
        if isinstance(change, Submitted)
    )
    assert (submitted.run.details.job_id, submitted.run.details.job_type) == (7, "portrait")


def test_nodes_of_a_job_that_no_read_showed_before_its_end_are_timed_all_the_same() -> None:
    tracker = make_tracker()
    tracker.apply(ExecutionBegan(1, "a"))
    tracker.apply(steps(2, "a", 0.0, 1.0))
    for step in (1, 2, 3):
        tracker.apply(steps(2 + step, "a", step, 3))
    tracker.apply(NodesHeard(6, "a", (NodeHeard("2", NodeState.FINISHED, 3, 3, "2"),), whole=True))
    found = HistoryEntry("a", 0, Outcome.COMPLETED, Details(graph=GRAPH), started_ms=1000, ended_ms=6000)
    timed = [change.timed for change in tracker.apply(HistoryPage(7, (found,))) if isinstance(change, NodeTimed)]
    assert [(one.node_type, one.seconds, one.steps) for one in timed] == [
        ("KSampler", 1.0, 1),
        ("KSampler", 1.0, 1),
        ("KSampler", 4.0, 0),
    ]
