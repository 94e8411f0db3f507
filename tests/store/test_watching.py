"""Monitors that watch a simulated ComfyUI and keep what they see."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from random import Random

import pytest

from comfyui_exporter import ComfyUIClient, StatusMonitor
from comfyui_exporter.config.model import Config
from comfyui_exporter.config.sections import Store
from comfyui_exporter.config.servers import ServerConfig
from comfyui_exporter.jobs.update import ProgressStatus
from comfyui_exporter.monitor import Monitor
from comfyui_exporter.simulator import Simulation
from comfyui_exporter.simulator.workflows import image
from comfyui_exporter.store.errors import StoreAwayError

PATIENCE = 30.0
"""Seconds within which anything happens, on a slow machine too."""


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


@pytest.fixture
async def simulation():
    async with Simulation(speed=200) as simulation:
        yield simulation


def submit(simulation, prompt_id):
    graph = image(Random(len(simulation.ledger.runs))).graph
    status, _ = simulation.comfy.submit({"prompt": graph, "prompt_id": prompt_id})
    assert status == 200


def completed(monitor, server):
    found = monitor.metrics.lasting(server).items()
    return sum(
        total.value
        for family, series in found
        if family.name == "comfyui_jobs_total"
        for total in series.values()
        if total.labels["status"] == "completed"
    )


@asynccontextmanager
async def watching(simulation, url, write=None):
    config = Config(poll_interval=0.1, servers=(ServerConfig(name="gpu0", url=simulation.url),), store=Store(url=url))
    monitor = Monitor(config, rng=Random(1))
    await monitor.open()
    if write is not None:
        monitor.keeper.database.write = write(monitor.keeper.database.write)
    monitor.start()
    try:
        yield monitor
    finally:
        await monitor.stop()


async def test_a_monitor_is_ready_when_its_first_look_is_kept_and_counts_what_comes_after(url, simulation):
    submit(simulation, "before")
    await until(lambda: simulation.comfy.queue_remaining == 0)
    async with watching(simulation, url) as monitor:
        await asyncio.wait_for(monitor.first_look(), PATIENCE)
        submit(simulation, "after")
        await until(lambda: completed(monitor, "gpu0") == 1)
    submit(simulation, "alone")
    await until(lambda: simulation.comfy.queue_remaining == 0)
    async with watching(simulation, url) as monitor:
        assert completed(monitor, "gpu0") == 1
        await until(lambda: completed(monitor, "gpu0") == 2)
        assert (await monitor.history.find(prompt_id="after")).status is ProgressStatus.COMPLETED


async def test_a_monitor_whose_first_look_cannot_be_kept_watches_and_is_not_ready(url, simulation):
    back = asyncio.Event()

    def failing(plain):
        async def write(batch, **options):
            if not back.is_set():
                message = "away"
                raise StoreAwayError(message)
            return await plain(batch, **options)

        return write

    async with watching(simulation, url, failing) as monitor:
        await until(lambda: monitor._fleet.watched["gpu0"].watch._poller.looked)
        submit(simulation, "a")
        await until(lambda: (found := monitor.board.find(prompt_id="a")) is not None and found.terminal)
        assert not monitor.ready
        assert completed(monitor, "gpu0") == 0
        back.set()
        await asyncio.wait_for(monitor.first_look(), PATIENCE)
        await until(lambda: completed(monitor, "gpu0") == 1)


async def test_the_library_goes_on_where_it_stopped(url, simulation):
    async with ComfyUIClient(simulation.url) as client:
        monitor = StatusMonitor(client, poll_interval=0.1, websocket_port=None, store=url)
        for job in ("one", "two", "three"):
            await monitor.start_monitoring()
            await until(lambda: monitor._monitor.ready)
            assert monitor.monitor_job(job, job)
            submit(simulation, job)
            await until(lambda job=job: monitor._monitor.board.find(prompt_id=job).terminal)
            await monitor.stop_monitoring()
        again = StatusMonitor(client, poll_interval=0.1, websocket_port=None, store=url)
        await again.start_monitoring()
        (server,) = again._monitor.servers
        assert completed(again._monitor, server) == 3
        assert (await again.get_progress("one")).status is ProgressStatus.COMPLETED
        await again.stop_monitoring()
