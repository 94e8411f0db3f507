"""The process of the demo in which all simulated ComfyUIs are."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from comfyui_exporter.demo.day import SERVERS
from comfyui_exporter.demo.player import Player
from comfyui_exporter.demo.ports import Place
from comfyui_exporter.demo.programs import ABANDONED, Command

READY = "ready"
"""The line that it writes when all of them listen."""

_TRIES = 50
_BETWEEN_TRIES_S = 0.1


async def play(
    addresses: Mapping[str, tuple[str, int]], ready: Callable[[list[Player]], None], *, seed: int = 0
) -> None:
    """Have these servers, by name, live through their days until cancelled; OSError when one cannot listen."""
    async with AsyncExitStack() as stack:
        players = []
        for name, (host, port) in addresses.items():
            player = Player(SERVERS[name], host, port, seed=seed, tell=_tell)
            await stack.enter_async_context(player.simulation)
            players.append(player)
        ready(players)
        async with asyncio.TaskGroup() as tasks:
            for player in players:
                tasks.create_task(player.run())


async def play_alone(name: str, host: str, port: int, seed: int) -> None:
    """Have one of them live through its days until cancelled."""

    def say_where(players: list[Player]) -> None:
        for player in players:
            _write(f"simulated ComfyUI {player.version} at {player.simulation.url}, through the days of {name}")

    await play({name: (host, port)}, say_where, seed=seed)


def _tell(time: str, server: str, what: str) -> None:
    _write(f"{time}  {server}: {what}")


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def command(places: Mapping[str, Place], folder: Path) -> Command:
    """Starts this module as a process that removes the folder if the demo is killed and so cannot."""
    servers = [f"{name}={place.flag}" for name, place in places.items()]
    words = (sys.executable, "-P", "-m", __name__, "--tidy", str(folder), *servers)
    return Command("studio", words, talks=True, outlives=True)


def _remove(folder: Path) -> None:
    """Remove it, though those who write there may still be about to end: they were killed at the same moment."""
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_BETWEEN_TRIES_S)


async def _main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tidy", type=Path)
    parser.add_argument("servers", nargs="+")
    given = parser.parse_args(arguments)
    playing = asyncio.current_task()
    assert playing is not None  # noqa: S101 - for mypy
    # Who is our parent says nothing yet: the signal comes when its first thread is gone.
    abandoned = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, playing.cancel)

    def leave() -> None:
        abandoned.set()
        playing.cancel()

    loop.add_signal_handler(ABANDONED, leave)
    addresses = {}
    for server in given.servers:
        name, _, address = server.partition("=")
        host, _, port = address.rpartition(":")
        addresses[name] = (host.strip("[]"), int(port))
    try:
        await play(addresses, lambda _: _write(READY))
    except asyncio.CancelledError:
        pass
    except OSError as error:
        # If the demo is gone, there is nobody to write to either.
        if not abandoned.is_set():
            sys.exit(str(error.strerror or error))
    finally:
        if abandoned.is_set():
            await asyncio.to_thread(_remove, given.tidy)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
