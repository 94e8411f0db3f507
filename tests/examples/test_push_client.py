"""The example client of the push service, at a real one whose hub is fed by hand."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from aiohttp import web

from comfyui_exporter.push.access import Access
from comfyui_exporter.push.handler import build_push_app
from comfyui_exporter.push.hub import Hub
from examples.loading import load
from push.making import Questions, later, update

push_client = load("push_client.py")

PATIENCE = 10.0
"""Seconds within which anything happens, on a slow machine too."""


class FixedToken:
    """A push service that asks for a token."""

    async def token(self):
        return "right"


class Service:
    """A push service that can end and begin anew on its port, as one that is restarted does."""

    def __init__(self, access=None):
        self.port = 0
        self.hub = None
        self._runner = None
        self._access = access or Access()

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}/ws"

    async def start(self, *jobs):
        self.hub = Hub(answers=Questions())
        for job in jobs:
            self.hub.job(job)
        app = build_push_app(self.hub, self._access)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self):
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()


class Told:
    """What a callback was given, one after the other."""

    def __init__(self):
        self._updates = asyncio.Queue()

    def __call__(self, update):
        self._updates.put_nowait(update)

    async def next(self):
        async with asyncio.timeout(PATIENCE):
            update = await self._updates.get()
        return None if update is None else (update["status"], update["progress_percent"])

    @property
    def nothing(self):
        return self._updates.empty()


@pytest.fixture
async def service():
    service = Service()
    await service.start()
    yield service
    await service.stop()


@pytest.fixture
async def connect():
    """Make clients that are closed in the end."""
    async with AsyncExitStack() as stack:

        async def made(service, **options):
            client = push_client.PushClient(service.url, jitter=lambda: 0.0, **options)
            return await stack.enter_async_context(client)

        yield made


JOB = update("r1", percent=10.0, job_id=123)
OTHER = update("r2", percent=20.0, job_id="b")


async def test_a_job_is_told_from_what_is_known_to_its_end(service, connect):
    service.hub.job(JOB)
    told = Told()
    client = await connect(service)
    await client.watch(123, told)
    assert await told.next() == ("processing", 10.0)
    service.hub.job(later(JOB, progress_percent=50.0))
    assert await told.next() == ("processing", 50.0)
    service.hub.job(update("r1", "completed", 100.0, job_id=123))
    assert await told.next() == ("completed", 100.0)


async def test_the_same_job_may_be_named_by_number_or_text(service, connect):
    service.hub.job(JOB)
    told = Told()
    await (await connect(service)).watch("123", told)
    assert await told.next() == ("processing", 10.0)


async def test_each_callback_is_told_of_its_job_alone_and_once(service, connect):
    service.hub.job(JOB)
    service.hub.job(OTHER)
    first, second = Told(), Told()
    client = await connect(service)
    await client.watch(123, first)
    assert await first.next() == ("processing", 10.0)
    await client.watch("b", second)  # a snapshot follows, with the first job again
    assert await second.next() == ("processing", 20.0)
    service.hub.job(later(OTHER, progress_percent=30.0))
    assert await second.next() == ("processing", 30.0)
    assert first.nothing
    assert second.nothing


async def test_a_job_that_is_removed_is_known_no_more(service, connect):
    service.hub.job(update("r1", "completed", 100.0, job_id=123))
    told = Told()
    await (await connect(service)).watch(123, told)
    assert await told.next() == ("completed", 100.0)
    service.hub.removed("r1")
    assert await told.next() is None


async def test_a_job_of_which_one_run_is_left_is_still_known(service, connect):
    service.hub.job(update("r1", "failed", 30.0, job_id=123))
    told = Told()
    await (await connect(service)).watch(123, told)
    assert await told.next() == ("failed", 30.0)
    service.hub.job(update("r3", percent=5.0, job_id=123))
    assert await told.next() == ("processing", 5.0)
    service.hub.removed("r1")
    service.hub.job(update("r3", percent=6.0, job_id=123))
    assert await told.next() == ("processing", 6.0)


async def test_after_a_restart_only_what_changed_meanwhile_is_told(service, connect):
    service.hub.job(JOB)
    service.hub.job(OTHER)
    same, changed = Told(), Told()
    client = await connect(service)
    await client.watch(123, same)
    await client.watch("b", changed)
    assert await same.next() == ("processing", 10.0)
    assert await changed.next() == ("processing", 20.0)
    await service.stop()
    await service.start(JOB, later(OTHER, progress_percent=90.0))
    assert await changed.next() == ("processing", 90.0)
    service.hub.job(later(JOB, progress_percent=11.0))
    assert await same.next() == ("processing", 11.0)


async def test_a_job_that_was_removed_while_nobody_was_connected_is_known_no_more(service, connect):
    service.hub.job(JOB)
    told = Told()
    client = await connect(service)
    await client.watch(123, told)
    assert await told.next() == ("processing", 10.0)
    await service.stop()
    await service.start()
    assert await told.next() is None


async def test_a_service_that_is_not_up_yet_is_waited_for(service, connect):
    await service.stop()
    told = Told()
    await (await connect(service)).watch(123, told)
    await service.start(JOB)
    assert await told.next() == ("processing", 10.0)


async def test_a_job_that_is_not_watched_any_more_is_not_told(service, connect):
    service.hub.job(JOB)
    told, other = Told(), Told()
    client = await connect(service)
    await client.watch(123, told)
    assert await told.next() == ("processing", 10.0)
    await client.unwatch(123)
    await client.watch("b", other)
    service.hub.job(later(JOB, progress_percent=50.0))
    service.hub.job(OTHER)
    assert await other.next() == ("processing", 20.0)
    assert told.nothing


async def test_a_callback_that_fails_costs_no_other_one_anything(service, connect, caplog):
    def fail(_):
        raise RuntimeError("no display")

    told = Told()
    client = await connect(service)
    await client.watch(123, fail)
    await client.watch("b", told)
    service.hub.job(JOB)
    service.hub.job(OTHER)
    assert await told.next() == ("processing", 20.0)
    assert "no display" in caplog.text


async def test_the_token_opens_the_service(connect):
    service = Service(Access(token=FixedToken()))
    await service.start(JOB)
    told = Told()
    await (await connect(service, token="right")).watch(123, told)
    assert await told.next() == ("processing", 10.0)
    await service.stop()
