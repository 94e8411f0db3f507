"""`top` on a terminal: what it draws, and how it leaves."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from comfyui_exporter.jobs.update import ServerUpdate
from comfyui_exporter.simulator import Simulation
from terminal.exporters import PATIENCE, Stage, staged, submit, update, watching
from terminal.ptys import Terminal, on_terminal

LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"


def shows(terminal: Terminal, *texts: str) -> bool:
    whole = "\n".join(terminal.frame)
    return "● live" in whole and all(text in whole for text in texts)


async def on_stage(stage: Stage) -> None:
    stage.hub.server(ServerUpdate("gpu0", up=True, running=1, pending=0, drain_seconds=9.0))
    stage.hub.server(ServerUpdate("gpu1", up=False, running=None, pending=None, drain_seconds=None))
    stage.hub.job(update("portrait", "processing", 40.0))


async def test_a_real_job_is_seen_to_run_and_to_end() -> None:
    async with (
        Simulation(speed=20, bridge=True) as simulation,
        watching(simulation) as url,
        on_terminal("top", url, size=(120, 30)) as terminal,
    ):
        await terminal.until(lambda: shows(terminal, "1 of 1 up", "GiB"))
        submit(simulation, "0b5c8f0e-6a8c-4d0e-9d0b-0f4f3c1c2a11", steps=60, job_id=7)
        await terminal.until(lambda: shows(terminal, "RUNNING 1", "#7", "KSampler"))
        await terminal.until(lambda: shows(terminal, "RESULTS 1", "completed", ".png"))
        terminal.press("q")
        assert await terminal.end() == 0


@pytest.mark.parametrize("way", ["q", "Ctrl-C", "SIGTERM"])
async def test_it_leaves_the_terminal_as_it_was(way: str) -> None:
    async with staged() as stage:
        await on_stage(stage)
        async with on_terminal("top", stage.url) as terminal:
            before = terminal.settings
            await terminal.until(lambda: shows(terminal, "portrait"))
            assert terminal.settings != before
            if way == "SIGTERM":
                assert terminal.process is not None
                terminal.process.send_signal(signal.SIGTERM)
            else:
                terminal.press({"q": "q", "Ctrl-C": "\x03"}[way])
            assert await terminal.end() == 0
            await terminal.until(lambda: terminal.written.endswith(LEAVE))
            assert terminal.settings == before
            assert terminal.written.count("\x1b[?1049h") == 1


async def test_it_gives_the_terminal_back_while_it_is_stopped() -> None:
    async with staged() as stage:
        await on_stage(stage)
        async with on_terminal("top", stage.url) as terminal:
            before = terminal.settings
            await terminal.until(lambda: shows(terminal, "portrait"))
            terminal.press("\x1a")
            await terminal.until(lambda: terminal.written.endswith(LEAVE))
            assert terminal.process is not None
            async with asyncio.timeout(PATIENCE):
                await asyncio.to_thread(os.waitid, os.P_PID, terminal.process.pid, os.WSTOPPED | os.WNOWAIT)
            assert terminal.settings == before
            terminal.process.send_signal(signal.SIGCONT)
            await terminal.until(lambda: not terminal.written.endswith(LEAVE) and shows(terminal, "portrait"))
            terminal.press("q")
            assert await terminal.end() == 0


async def test_it_follows_the_size_of_the_terminal() -> None:
    async with staged() as stage:
        await on_stage(stage)
        async with on_terminal("top", stage.url) as terminal:
            await terminal.until(lambda: shows(terminal, "portrait") and len(terminal.frame) == 24)
            terminal.resize(160, 40)
            await terminal.until(lambda: shows(terminal, "GPU MEMORY", "VERSION") and len(terminal.frame) == 40)
            terminal.resize(30, 8)
            await terminal.until(lambda: len(terminal.frame) == 8 and all(len(line) <= 30 for line in terminal.frame))


async def test_keys_choose_what_is_shown() -> None:
    async with staged() as stage:
        await on_stage(stage)
        async with on_terminal("top", stage.url) as terminal:
            await terminal.until(lambda: shows(terminal, "SERVERS 2", "RUNNING 1", "RESULTS"))
            terminal.press("r")
            await terminal.until(lambda: shows(terminal, "RUNNING 1") and not shows(terminal, "SERVERS"))
            terminal.press("\x1b[C\x1b[A")  # an arrow that means nothing here, and one that does
            terminal.press("a")
            await terminal.until(lambda: shows(terminal, "SERVERS 2", "RUNNING 1"))
            terminal.press("/gpu12q\x7f\x7f\r")
            await terminal.until(lambda: shows(terminal, "SERVERS 1", "no running job", "servers with “gpu1”"))
            terminal.press("\x1b")
            await terminal.until(lambda: shows(terminal, "SERVERS 2", "RUNNING 1"))


async def test_over_a_restart_what_is_known_stays_and_then_what_went_vanishes() -> None:
    async with staged() as stage:
        await on_stage(stage)
        stage.hub.job(update("goes", "queued"))
        async with on_terminal("top", stage.url, size=(120, 24)) as terminal:
            await terminal.until(lambda: shows(terminal, "portrait", "goes"))
            await stage.restart()
            await terminal.until(
                lambda: any("goes" in line and "lost since" in terminal.frame[0] for line in terminal.frame)
            )
            stage.hub.server(ServerUpdate("gpu0", up=True, running=1, pending=0, drain_seconds=9.0))
            stage.hub.job(update("portrait", "processing", 70.0))
            await stage.start()
            await terminal.until(lambda: shows(terminal, "70%", "SERVERS 1") and not shows(terminal, "goes"))


async def test_one_server_alone_can_be_asked_for() -> None:
    async with staged() as stage:
        await on_stage(stage)
        stage.jobs = [update("old", "completed"), replace(update("new", "failed"), server="gpu1")]
        async with on_terminal("top", stage.url, "--server", "gpu1") as terminal:
            await terminal.until(lambda: shows(terminal, "SERVERS 1", "gpu1", "no running job", "RESULTS 2"))
            assert "server=gpu1" in next(path for path in stage.asked if "status=completed" in path)


async def test_an_exporter_that_is_not_there_is_told_without_a_screen() -> None:
    async with on_terminal("top", "http://127.0.0.1:1") as terminal:
        assert await terminal.end() == 3
        await terminal.until(lambda: "cannot be reached: Connection refused" in terminal.written)
        assert "\x1b[?1049h" not in terminal.written
