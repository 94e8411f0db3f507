"""Registered jobs that no server has shown yet."""

from __future__ import annotations

from comfyui_exporter.jobs.registrations import Registrations
from jobs.making import registration


def seen(registrations, at, **servers):
    """Each server tells once at this moment; whose registrations timed out by that."""
    return [one.prompt_id for name, up in servers.items() for one in registrations.seen(name, up=up, at=at)]


def test_a_job_that_no_server_shows_times_out_once():
    registrations = Registrations(10.0)
    seen(registrations, 0.0, gpu0=True)
    registrations.add(registration("p"))
    assert seen(registrations, 10.0, gpu0=True) == []
    assert seen(registrations, 10.5, gpu0=True) == ["p"]
    assert seen(registrations, 30.0, gpu0=True) == []


def test_time_runs_only_while_all_servers_answer():
    registrations = Registrations(10.0)
    seen(registrations, 0.0, gpu0=True, gpu1=False)
    registrations.add(registration("p"))
    for at in range(1, 100):
        assert seen(registrations, float(at), gpu0=True, gpu1=False) == []
    seen(registrations, 100.0, gpu0=True, gpu1=True)
    assert seen(registrations, 109.0, gpu0=True, gpu1=True) == []
    assert seen(registrations, 110.5, gpu0=True, gpu1=True) == ["p"]


def test_a_server_that_is_watched_no_more_holds_nothing_up():
    registrations = Registrations(10.0)
    seen(registrations, 0.0, gpu0=True, gpu1=False)
    registrations.add(registration("p"))
    registrations.remove_server("gpu1")
    assert seen(registrations, 11.0, gpu0=True) == ["p"]


def test_a_long_pause_of_ours_is_no_time_in_which_servers_answered():
    registrations = Registrations(600.0)
    seen(registrations, 0.0, gpu0=True)
    registrations.add(registration("p"))
    assert seen(registrations, 10_000.0, gpu0=True) == []


def test_a_job_that_timed_out_is_still_taken_when_it_comes():
    registrations = Registrations(10.0)
    registrations.add(registration("p"))
    seen(registrations, 0.0, gpu0=True)
    assert seen(registrations, 20.0, gpu0=True) == ["p"]
    assert registrations.claim("gpu0", "p").prompt_id == "p"
    assert registrations.claim("gpu0", "p") is None
    assert registrations.waiting_for("p") is None


def test_a_registration_for_one_server_is_not_taken_by_another():
    registrations = Registrations(10.0)
    registrations.add(registration("p", server="gpu1"))
    assert registrations.claim("gpu0", "p") is None
    assert registrations.claim("gpu1", "p").server == "gpu1"


def test_a_second_registration_of_a_prompt_takes_the_place_of_the_first():
    registrations = Registrations(10.0)
    assert registrations.add(registration("p", run_id="a")) == []
    assert [gone.run_id for gone in registrations.add(registration("p", run_id="b"))] == ["a"]
    assert registrations.claim("gpu0", "p").run_id == "b"


def test_the_oldest_goes_when_ten_thousand_wait():
    registrations = Registrations(10.0)
    gone = [one.prompt_id for number in range(10_001) for one in registrations.add(registration(f"p{number}"))]
    assert gone == ["p0"]
