"""Backoff, the clock, and the time a server is busy."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from comfyui_exporter.tracker.busy import BusyMeter
from comfyui_exporter.tracker.observations import Details, HistoryEntry, Outcome
from comfyui_exporter.tracker.runs import Run, State
from comfyui_exporter.watch.backoff import LONGEST, STABLE, Backoff
from comfyui_exporter.watch.clock import Clock


def run(run_id: str, duration: float | None = None) -> Run:
    entry = None
    if duration is not None:
        entry = HistoryEntry("p", 0, Outcome.COMPLETED, started_ms=1000, ended_ms=1000 + int(duration * 1000))
    return Run(run_id, "p", 0, State.PROCESSING, Details(), 0, first_seen=0, entry=entry)


def test_waits_grow_to_thirty_seconds_at_most_and_are_spread() -> None:
    backoff = Backoff(2.0, Random(1))
    waits = [backoff.failed() for _ in range(200)]
    assert all(0.5 <= wait <= LONGEST for wait in waits)
    assert waits[0] <= 2
    assert max(waits[20:]) > 25
    assert min(waits[20:]) < 5


def test_one_answer_between_failures_does_not_shorten_the_waits() -> None:
    backoff = Backoff(2.0, Random(2))
    for _ in range(10):
        backoff.failed()
        backoff.succeeded()
    assert max(backoff.failed() for _ in range(20)) > 20


def test_stable_answers_shorten_the_waits_again() -> None:
    backoff = Backoff(2.0, Random(2))
    for _ in range(10):
        backoff.failed()
    for _ in range(STABLE):
        backoff.succeeded()
    assert backoff.failed() <= 2


def test_the_clock_follows_a_wall_clock_that_was_set_without_jumping_itself(monkeypatch) -> None:
    wall = monotonic = 1000.0
    monkeypatch.setattr("time.time", lambda: wall)
    monkeypatch.setattr("time.monotonic", lambda: monotonic)
    clock = Clock()
    before = clock.now()
    wall, monotonic = 5000.0, 1010.0
    assert clock.now() - before == 10
    assert clock.wall(clock.now()) == 5000.0
    wall += 0.3  # noise does not move what was shown
    assert clock.wall(before) == 4990.0


def test_a_running_job_makes_busy_time_as_it_runs() -> None:
    meter = BusyMeter()
    assert meter.advance(100, run("a"), []) == 0
    assert meter.advance(102, run("a"), []) == 2
    assert meter.advance(104, None, [run("a", 3.5)]) == 1.5
    assert meter.advance(110, None, []) == 0


def test_a_job_too_short_to_be_seen_running_counts_with_what_it_took() -> None:
    meter = BusyMeter()
    meter.advance(100, None, [])
    assert meter.advance(102, None, [run("a", 0.5), run("b", 0.25)]) == 0.75


def test_no_stretch_of_time_is_given_twice() -> None:
    meter = BusyMeter()
    meter.advance(100, run("a"), [])
    assert meter.advance(102, run("c"), [run("a", 1.9), run("b", 50.0)]) == 2


def test_a_run_that_vanished_was_busy_until_it_was_missed() -> None:
    meter = BusyMeter()
    meter.advance(100, run("a"), [])
    assert meter.advance(101, None, [replace(run("a"), state=State.LOST)]) == 1
