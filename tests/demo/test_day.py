"""The story of the demo, and what is made of it: when what happens."""

from __future__ import annotations

from collections import Counter
from itertools import takewhile
from random import Random

import pytest

from comfyui_exporter.demo.day import BEGIN, HOUR_S, SERVERS, Failures, Hang, Restart
from comfyui_exporter.demo.plan import DAY_S, Act, Submission, acts, clock
from comfyui_exporter.demo.player import Player
from comfyui_exporter.simulator.failures import FAILURES
from comfyui_exporter.simulator.profile import PROFILES
from comfyui_exporter.simulator.workflows import KINDS

each_server = pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)


def days(server, count=1, seed=0):
    return list(takewhile(lambda act: act.at_s < count * DAY_S, acts(server, Random(seed))))


def jobs(happening):
    return [act.what for act in happening if isinstance(act.what, Submission)]


@each_server
def test_the_story_names_what_the_simulator_has(server):
    assert server.profile in PROFILES
    assert server.kinds.keys() <= KINDS.keys()
    assert {event.failure for event in server.events if isinstance(event, Failures)} <= FAILURES.keys()


@each_server
def test_what_happens_is_in_order_and_never_ends(server):
    happening = days(server, 3)
    assert [act.at_s for act in happening] == sorted(act.at_s for act in happening)
    counts = Counter(int(act.at_s // DAY_S) for act in happening)
    assert min(counts.values()) > 0.7 * max(counts.values())


@each_server
def test_the_same_seed_gives_the_same_days_and_another_one_others(server):
    assert days(server, 2, seed=1) == days(server, 2, seed=1) != days(server, 2, seed=2)


@each_server
def test_jobs_are_submitted_as_soon_as_it_begins(server):
    assert next(acts(server, Random(0))).at_s == 0
    assert sum(act.at_s < 5 for act in days(server) if isinstance(act.what, Submission)) >= 3


@each_server
def test_fewer_than_one_job_in_twenty_five_fails(server):
    submitted = jobs(days(server, 3))
    assert sum(job.failure is not None for job in submitted) < len(submitted) / 25


def test_a_day_has_failures_of_several_patterns_a_stalled_job_and_restarts():
    events = [event for server in SERVERS.values() for event in server.events]
    assert {"cuda_oom", "missing_file"} < {event.failure for event in events if isinstance(event, Failures)}
    assert sum(isinstance(event, Hang) for event in events) == 1
    assert sum(isinstance(event, Restart) for event in events) == 2


def test_a_failure_can_be_seen_within_the_first_minute():
    assert any(act.what.failure for server in SERVERS.values() for act in days(server)
               if act.at_s < 40 and isinstance(act.what, Submission))  # fmt: skip


@each_server
def test_there_is_more_to_do_by_day_than_in_the_small_hours(server):
    per_hour = Counter(
        int(BEGIN + act.at_s / HOUR_S) % 24 for act in days(server, 5) if isinstance(act.what, Submission)
    )
    assert sum(per_hour[hour] for hour in (9, 10, 16, 17)) > 1.5 * sum(per_hour[hour] for hour in (1, 2, 4, 5))


@each_server
def test_applications_say_what_their_jobs_are_and_others_do_not(server):
    player = Player(server, "127.0.0.1", 0)
    bodies = {}
    for job in jobs(days(server)):
        bodies.setdefault(job.user, []).append((job, player.body_of(job)))
    assert bodies.keys() == {"browser", "script", "application"}
    for job, body in bodies["application"]:
        assert body["extra_data"]["job_type"] == job.kind
        assert body["extra_data"].get("batch_id") == job.batch
    assert len({body["extra_data"]["job_id"] for _, body in bodies["application"]}) == len(bodies["application"])
    assert all("client_id" in body and "extra_data" not in body for _, body in bodies["browser"])
    assert all(body.keys() == {"prompt", "prompt_id"} for _, body in bodies["script"])


@each_server
def test_what_people_are_told_is_told_once_a_day(server):
    said = [act.say for act in days(server, 2) if act.say]
    assert said
    assert set(Counter(said).values()) == {2}


def test_the_clock_of_the_story_begins_in_the_morning_and_goes_round():
    assert [clock(seconds) for seconds in (0, HOUR_S, 15 * HOUR_S, 15.5 * HOUR_S, DAY_S)] == [
        "08:30", "09:30", "23:30", "00:00", "08:30",
    ]  # fmt: skip


def test_work_between_two_hours_is_on_a_line_between_them():
    images = SERVERS["gpu-images"]
    assert images.rate(8) == 16
    assert images.rate(8.75) == 18
    assert images.rate(23) == 4.5
    assert images.rate(23.999) == pytest.approx(3, abs=0.01)


def test_an_act_is_what_happens_at_a_moment():
    first = days(SERVERS["gpu-video"])[0]
    assert first == Act(0, Submission("video", "application", batch="teaser"), "")
