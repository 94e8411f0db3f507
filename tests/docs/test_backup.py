"""Backup and restore by the commands of the page: what ended since the backup is counted again, and once."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import aiohttp
import pytest

from comfyui_exporter.simulator import Simulation
from comfyui_exporter.simulator.workflows import image
from docs.blocks import ALL
from postgres import postgres_programs

PATIENCE = 30.0
"""Seconds within which anything happens, on a slow machine too."""
TYPED = {block.text.split()[0]: block.text for block in ALL if block.page == "docs/operations.md"}
SAVE, PUT_BACK, POSTGRES = TYPED["sqlite3"], TYPED["rm"], TYPED["pg_dump"]
DUMP, LOAD = POSTGRES.splitlines()
COMPLETED = re.compile(r'^comfyui_jobs_total\{.*status="completed".*\} (\d+)', re.MULTILINE)


@pytest.fixture
async def simulation() -> AsyncIterator[Simulation]:
    async with Simulation(speed=200) as simulation:
        yield simulation


def _environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COMFYUI", "STATE"))}
    return kept | {"HOME": str(home), "PATH": f"{kept['PATH']}:{postgres_programs()}", "PYTHONUNBUFFERED": "1"}


async def _typed(commands: str, home: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", commands, cwd=home, env=_environment(home),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    assert "integrity" not in commands or said == b"ok\n"


class Exporter:
    """One that runs, as whoever scrapes it sees it."""

    def __init__(self, url: str, process: asyncio.subprocess.Process) -> None:
        self._url = url
        self._process = process

    async def has_completed(self, count: int) -> None:
        """Wait until so many jobs are counted as completed."""
        async with asyncio.timeout(PATIENCE), aiohttp.ClientSession(self._url) as session:
            while await self._completed(session) != count:  # noqa: ASYNC110 - what is waited for tells nobody
                await asyncio.sleep(0.02)

    async def _completed(self, session: aiohttp.ClientSession) -> int:
        async with session.get("/metrics") as answer:
            return sum(int(value) for value in COMPLETED.findall(await answer.text()))

    async def knows(self) -> list[str]:
        """Give the prompt ids of all its jobs."""
        async with aiohttp.ClientSession(self._url) as session, session.get("/api/v1/jobs") as answer:
            return sorted(item["comfyui_prompt_id"] for item in (await answer.json())["items"])

    async def is_killed(self) -> None:
        """End it in the middle of things."""
        self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def _exporting(comfyui: str, home: Path, *flags: str) -> AsyncIterator[Exporter]:
    command = [sys.executable, "-m", "comfyui_exporter", "run", "--comfyui.url", f"gpu0={comfyui}"]
    command += ["--comfyui.poll-interval", "100ms", "--web.listen-address", "127.0.0.1:0", "--push.listen-address", ""]
    process = await asyncio.create_subprocess_exec(
        *command, *flags, cwd=home, env=_environment(home), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    drain = None
    try:
        said = b""
        while (found := re.search(rb"127\.0\.0\.1:\d+", said)) is None:
            said = await process.stderr.readline()
            assert said, "the exporter did not start"
        drain = asyncio.create_task(process.stderr.read())
        url = f"http://{found[0].decode()}"
        async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session:
            while True:
                async with session.get(f"{url}/-/ready") as answer:
                    if answer.status == 200:
                        break
        yield Exporter(url, process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if drain is not None:
            await drain


def _submit(simulation: Simulation, prompt_id: str, seed: int) -> None:
    simulation.comfy.submit({"prompt": image(Random(seed)).graph, "prompt_id": prompt_id})


async def test_a_copy_of_the_file_that_is_put_back_counts_what_came_after_it(simulation, tmp_path):
    async with _exporting(simulation.url, tmp_path) as exporter:
        _submit(simulation, "before", 1)
        await exporter.has_completed(1)
        await _typed(SAVE, tmp_path)
        _submit(simulation, "after", 2)
        await exporter.has_completed(2)
        await exporter.is_killed()
    await _typed(PUT_BACK, tmp_path)
    async with _exporting(simulation.url, tmp_path) as exporter:
        await exporter.has_completed(2)
        assert await exporter.knows() == ["after", "before"]


async def test_a_dump_of_postgresql_that_is_put_back_does_too(simulation, tmp_path, postgres_url, postgres):
    shown = re.search(r"postgresql://\S+", DUMP)
    assert shown
    async with _exporting(simulation.url, tmp_path, "--store.url", postgres_url) as exporter:
        _submit(simulation, "before", 1)
        await exporter.has_completed(1)
        await _typed(DUMP.replace(shown[0], postgres_url), tmp_path)
        _submit(simulation, "after", 2)
        await exporter.has_completed(2)
        await exporter.is_killed()
    empty = postgres.new_database()
    await _typed(LOAD.replace(shown[0], empty), tmp_path)
    async with _exporting(simulation.url, tmp_path, "--store.url", empty) as exporter:
        await exporter.has_completed(2)
        assert await exporter.knows() == ["after", "before"]
