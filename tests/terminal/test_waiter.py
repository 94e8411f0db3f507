"""Waiting over sockets that come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from comfyui_exporter.terminal.exporter import Exporter, RefusedError, UnreachableError
from comfyui_exporter.terminal.follow import Waits
from comfyui_exporter.terminal.waiter import Patience, Waiter
from comfyui_exporter.terminal.waiting import Watched
from comfyui_exporter.terminal.way import Way
from terminal.exporters import PATIENCE, Stage, staged, update


class Waiting:
    """A waiter, and all that it told."""

    def __init__(self, exporter: Exporter, names: list[str], patience: Patience) -> None:
        self.told: list[tuple[str, str | None]] = []
        self.away: list[str | None] = []
        self._news = asyncio.Event()
        self.waiter = Waiter(
            exporter, names, patience, tell=self._tell, away=self._away, waits=lambda: Waits(lambda: 0)
        )
        self.task = asyncio.create_task(self.waiter.run())

    def _tell(self, each: Watched) -> None:
        self.told.append((each.name, each.job.status if each.job is not None and each.known else None))
        self._news.set()

    def _away(self, why: str | None) -> None:
        self.away.append(why)
        self._news.set()

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not done():
                await self._news.wait()
                self._news.clear()

    async def outcomes(self) -> list[str]:
        async with asyncio.timeout(PATIENCE):
            await self.task
        return [each.outcome.word for each in self.waiter.list.watched if each.outcome]


@asynccontextmanager
async def waiting(stage: Stage, *names: str, patience: Patience | None = None) -> AsyncIterator[Waiting]:
    async with Exporter(Way(stage.url)) as exporter:
        made = Waiting(exporter, list(names), patience or Patience(appear=PATIENCE))
        yield made
        made.task.cancel()
        await asyncio.gather(made.task, return_exceptions=True)


async def test_each_job_is_followed_to_its_end() -> None:
    async with staged() as stage:
        stage.hub.job(update("a", "queued"))
        stage.hub.job(update("b", "processing", job_id=7))
        stage.hub.job(update("other", "processing"))
        async with waiting(stage, "p-a", "7") as made:
            await made.until(lambda: len(made.told) == 2)
            for status in ("processing", "failed"):
                stage.hub.job(update("a", status))
                await made.until(lambda status=status: made.told[-1] == ("p-a", status))
            stage.hub.job(update("b", "completed", job_id=7))
            assert await made.outcomes() == ["failed", "completed"]
        assert {name for name, _ in made.told} == {"p-a", "7"}


async def test_a_job_that_is_not_known_yet_is_waited_for() -> None:
    async with staged() as stage, waiting(stage, "p-a") as made:
        await made.until(lambda: made.told == [("p-a", None)])
        stage.hub.job(update("a", "queued"))
        stage.hub.job(update("a", "completed"))
        assert await made.outcomes() == ["completed"]


async def test_a_job_that_does_not_come_is_unknown() -> None:
    async with staged() as stage, waiting(stage, "p-a", patience=Patience(appear=0.05)) as made:
        assert await made.outcomes() == ["unknown"]


async def test_a_job_that_ended_longer_ago_is_found_in_the_history() -> None:
    async with staged() as stage:
        stage.jobs = [update("a", "failed", job_id="a/b?c")]
        async with waiting(stage, "a/b?c") as made:
            assert await made.outcomes() == ["failed"]


async def test_it_outlives_a_restart_and_hears_of_an_end_that_came_meanwhile() -> None:
    async with staged() as stage:
        stage.hub.job(update("a", "processing"))
        async with waiting(stage, "p-a") as made:
            await made.until(lambda: made.told == [("p-a", "processing")])
            await stage.restart()
            await made.until(lambda: made.away == ["the exporter closed the connection"])
            stage.hub.job(update("a", "completed", run_id="another"))
            await stage.start()
            assert await made.outcomes() == ["completed"]


async def test_a_job_that_a_new_exporter_does_not_know_may_come_again_or_not() -> None:
    async with staged() as stage:
        stage.hub.job(update("a", "processing"))
        async with waiting(stage, "p-a", patience=Patience(appear=0.05)) as made:
            await made.until(lambda: made.told == [("p-a", "processing")])
            await stage.restart()
            await stage.start()
            assert await made.outcomes() == ["unknown"]
            assert made.away[-1] is None


async def test_an_exporter_that_stays_away_is_given_up() -> None:
    async with staged() as stage:
        stage.hub.job(update("a", "processing"))
        async with waiting(stage, "p-a", patience=Patience(away=0.05)) as made:
            await made.until(lambda: made.told == [("p-a", "processing")])
            await stage.restart()
            assert await made.outcomes() == ["unreachable"]


async def test_the_time_for_all_is_for_all() -> None:
    async with staged() as stage:
        stage.hub.job(update("a", "processing"))
        stage.hub.job(update("b", "completed"))
        async with waiting(stage, "p-a", "p-b", patience=Patience(all=0.2)) as made:
            assert await made.outcomes() == ["timeout", "completed"]


async def test_an_exporter_that_is_not_there_is_told_at_once() -> None:
    async with staged() as stage:
        await stage.stop()
        async with waiting(stage, "p-a") as made:
            with pytest.raises(UnreachableError, match="Connection refused"):
                await made.outcomes()


async def test_something_else_at_the_address_is_told_at_once() -> None:
    async with staged() as stage:
        stage.url += "/elsewhere"
        async with waiting(stage, "p-a") as made:
            with pytest.raises(RefusedError, match="404"):
                await made.outcomes()


def test_waits_grow_to_a_few_seconds_and_begin_anew_after_a_success() -> None:
    waits = Waits(lambda: 1)
    assert [waits.failed() for _ in range(6)] == [0.5, 1, 2, 4, 5, 5]
    waits.reset()
    assert waits.failed() == 0.5
