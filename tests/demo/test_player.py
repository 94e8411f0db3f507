"""Simulated ComfyUIs that live through their days, in a time that tests move."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

from comfyui_exporter.demo.day import BEGIN, HOUR_S, SERVERS
from comfyui_exporter.demo.player import Player
from comfyui_exporter.simulator.simtime import ManualTime


class Day:
    """One that is lived through."""

    def __init__(self, player, told):
        self.simulation = player.simulation
        self.told = told
        self._seconds = 0.0

    async def until(self, hour):
        seconds = (hour - BEGIN) % 24 * HOUR_S
        await self.simulation.time.advance((seconds - self._seconds) * 1000)
        self._seconds = seconds

    @property
    def running(self):
        return [run for run in self.simulation.ledger.runs if run.place == "running"]

    @property
    def waiting(self):
        return [run for run in self.simulation.ledger.runs if run.place == "pending"]

    def ends(self):
        began = 1_767_225_600_000
        return Counter(run.truth for run in self.simulation.ledger.runs if run.submitted_ms >= began)


@asynccontextmanager
async def day(name):
    told = []
    player = Player(SERVERS[name], "127.0.0.1", 0, tell=lambda *what: told.append(what), time=ManualTime())
    async with player.simulation:
        living = asyncio.create_task(player.run())
        try:
            yield Day(player, told)
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)


async def test_a_video_hangs_at_lunch_users_give_up_and_after_the_restart_all_is_well():
    async with day("gpu-video") as video:
        await video.until(11.4)
        done = video.ends()["completed"]
        assert done > 5
        await video.until(11.6)
        (stuck,) = video.running
        await video.until(14.55)
        assert video.running == [stuck]
        assert len(video.waiting) > 2
        await video.until(14.65)
        assert len(video.waiting) <= 2
        await video.until(15.05)
        assert not video.simulation.comfy.alive
        await video.until(15.5)
        assert stuck.truth == "lost"
        await video.until(18)
        ends = video.ends()
        assert ends["completed"] > done + 8
        assert 1 <= ends["lost"] <= 4
        assert ends["cancelled"] >= 2


async def test_images_run_out_of_memory_while_another_program_has_it_and_work_again_afterwards():
    async with day("gpu-images") as images:

        def free():
            return images.simulation.comfy.system_stats().body["devices"][0]["vram_free"]

        await images.until(9.95)
        before = free()
        await images.until(10.05)
        assert free() < before - (10 << 30)
        await images.until(12)
        failed = [run.exception_type for run in images.simulation.ledger.runs if run.truth == "failed"]
        assert failed == ["torch.OutOfMemoryError"] * 3
        assert free() > before - (8 << 30)
        completed = images.ends()["completed"]
        await images.until(14)
        assert images.ends()["completed"] > completed + 5
        assert images.ends()["failed"] == 3


async def test_whoever_watches_is_told_what_happens_with_the_time_of_the_story():
    async with day("gpu-images") as images:
        await images.until(11.35)
        assert images.told == [
            ("10:00", "gpu-images", "another program takes 15 GB of the GPU's memory"),
            ("10:12", "gpu-images", "large images run out of memory"),
            ("11:18", "gpu-images", "the other program has ended, images work again"),
        ]


async def test_it_has_a_day_before_it_that_took_as_long_as_this_one():
    async with day("gpu-batch") as batch:
        before = [run for run in batch.simulation.ledger.runs if run.truth == "completed"]
        assert len(before) == 80
        await batch.until(12)
        today = [run for run in batch.simulation.ledger.runs[80:] if run.truth == "completed"]

        def mean(runs):
            return sum(run.ended_ms - run.started_ms for run in runs) / len(runs)

        assert 0.5 < mean(today) / mean(before) < 2
