"""Who is taught when, while everybody else works."""

from __future__ import annotations

import asyncio

from comfyui_exporter.eta.late import LatePredictor
from comfyui_exporter.teaching import Teaching
from eta.making import ended, features, run


class Lessons:
    """What is known of any server: two jobs."""

    def __init__(self):
        self.read = []

    async def __call__(self, servers):
        self.read += servers
        return {server: [ended(10.0, features("a")), ended(10.0, features("a"))] for server in servers}


def owed(teaching, names):
    predictors = {name: LatePredictor() for name in names}
    for name, predictor in predictors.items():
        teaching.owe(name, predictor, 2)
    return predictors


async def taught(teaching):
    teaching.start()
    async with asyncio.timeout(10):
        await teaching._task


async def test_those_of_whom_an_estimate_was_wanted_come_first():
    lessons = Lessons()
    teaching = Teaching(lessons)
    predictors = owed(teaching, "abcdefgh")
    for name in "gd":
        assert predictors[name].predict(run(features("a"))) is None
    await taught(teaching)
    assert lessons.read[:2] == ["d", "g"]
    assert sorted(lessons.read) == list("abcdefgh")
    assert all(predictor.predict(run(features("a"))) is not None for predictor in predictors.values())
    assert not teaching.under_way


async def test_nothing_is_read_for_a_server_that_went_or_that_is_owed_nothing():
    lessons = Lessons()
    teaching = Teaching(lessons)
    owed(teaching, "ab")
    teaching.owe("c", LatePredictor(), 0)
    teaching.forget("a")
    await taught(teaching)
    assert lessons.read == ["b"]


async def test_one_that_waits_for_its_lessons_gets_them_without_the_others():
    lessons = Lessons()
    teaching = Teaching(lessons)
    predictors = owed(teaching, "abc")
    await teaching.finish(["b", "unknown"])
    assert lessons.read == ["b"]
    assert predictors["b"].predict(run(features("a"))) is not None
    assert teaching.under_way
    await teaching.stop()
