"""Where the jobs are that somebody waits for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from comfyui_exporter.push.messages import job_data
from comfyui_exporter.terminal.messages import Job
from comfyui_exporter.terminal.waiting import Outcome, Run, Watchlist, exit_code, outcome_of
from terminal.exporters import NOW, update
from terminal.test_state import job, said


def known(name: str, status: str, **fields: Any) -> Job:
    return msgspec.convert(job_data(update(name, status, **fields)), Job)


@pytest.mark.parametrize(
    ("status", "fields", "outcome"),
    [
        ("completed", {}, Outcome.COMPLETED),
        ("failed", {}, Outcome.FAILED),
        ("cancelled", {}, Outcome.CANCELLED),
        ("timeout", {"ended_at": NOW}, Outcome.LOST),
        ("timeout", {"server": None, "started_at": None}, Outcome.LOST),
        ("timeout", {}, None),
        ("processing", {}, None),
        ("completing", {}, None),
        ("queued", {}, None),
    ],
)
def test_a_job_goes_on_until_it_ended_or_no_server_ever_showed_it(status, fields, outcome):
    assert outcome_of(known("a", status, **fields)) is outcome


def told(watchlist: Watchlist, by_prompt: list[Any], by_job: list[Any]) -> None:
    for source, messages in zip(watchlist.sources, (by_prompt, by_job), strict=True):
        source.connected()
        for message in (*messages, said("snapshot_end")):
            source.hear(message)


def test_a_job_is_known_by_either_of_its_names():
    watchlist = Watchlist(["p-a", "7", "none", "p-a"])
    told(watchlist, [job("a", "processing")], [job("b", "completed", job_id=7)])
    assert [each.name for each in watchlist.look()] == ["p-a", "7"]
    assert [(each.name, each.outcome) for each in watchlist.watched] == [
        ("p-a", None),
        ("7", Outcome.COMPLETED),
        ("none", None),
    ]
    assert [each.name for each in watchlist.missing] == ["none"]
    assert watchlist.watched[1].data["comfyui_prompt_id"] == "p-b"


def test_of_several_runs_the_one_that_goes_on_counts_else_the_one_that_ended_last():
    again = {"comfyui_prompt_id": "p"}
    first = job("1", "failed", ended_at=NOW, **again)
    second = job("2", "completed", ended_at=NOW.replace(hour=13), **again)
    watchlist = Watchlist(["p"])
    told(watchlist, [second, first, job("3", "queued", **again)], [])
    watchlist.look()
    assert (watchlist.watched[0].outcome, watchlist.watched[0].job.run_id) == (None, "r-3")
    watchlist = Watchlist(["p"])
    told(watchlist, [second, first], [])
    watchlist.look()
    assert watchlist.watched[0].outcome is Outcome.COMPLETED


def test_half_a_snapshot_takes_nothing_away_and_a_whole_one_does():
    watchlist = Watchlist(["p-a"])
    told(watchlist, [job("a", "processing")], [])
    watchlist.look()
    watchlist.sources[0].connected()
    assert watchlist.look() == []
    assert watchlist.watched[0].known
    watchlist.sources[0].hear(said("snapshot_end"))
    watchlist.look()
    assert [each.name for each in watchlist.missing] == ["p-a"]


def test_an_outcome_is_final():
    watchlist = Watchlist(["p-a"])
    told(watchlist, [job("a", "failed")], [])
    watchlist.look()
    watchlist.sources[0].hear(job("a", "completed"))
    assert watchlist.look() == []
    watchlist.give_up(Outcome.TIMEOUT)
    assert watchlist.watched[0].outcome is Outcome.FAILED


def test_the_api_is_believed_about_ends_alone():
    watchlist = Watchlist(["p-a"])
    told(watchlist, [], [])
    going, ended = update("a", "processing"), update("a", "completed")
    assert not watchlist.found(watchlist.watched[0], Run(known("a", "processing"), job_data(going)))
    assert watchlist.found(watchlist.watched[0], Run(known("a", "completed"), job_data(ended)))
    assert watchlist.over


def test_the_exit_code_is_the_lowest_that_is_not_zero():
    watchlist = Watchlist("abc")
    for each, outcome in zip(watchlist.watched, (Outcome.COMPLETED, Outcome.TIMEOUT, Outcome.LOST), strict=True):
        each.outcome = outcome
    assert exit_code(watchlist.watched) == 4
    assert exit_code(watchlist.watched[:1]) == 0
    assert {outcome.word: outcome.code for outcome in Outcome} == {
        "completed": 0,
        "failed": 1,
        "unreachable": 3,
        "lost": 4,
        "cancelled": 5,
        "unknown": 6,
        "timeout": 7,
    }
