"""Programs that the demo starts, and that end with it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comfyui_exporter.demo import tied

_PATIENCE_S = 5.0
"""So long a program may take to end by itself."""

_LOOK_EVERY_S = 0.05


ABANDONED = signal.SIGHUP
"""What a program gets that outlives the demo, when that is gone; what the demo itself sends to end it is SIGTERM."""


class EndedError(Exception):
    """A program of the demo has ended, though nobody wanted it to; the message says what it said last."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to start."""

    name: str
    words: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables besides those of this process."""
    talks: bool = False
    """Its output is read by the demo; else it goes into a file."""
    complains: bool = False
    """What it has to say goes to the terminal."""
    outlives: bool = False
    """If the demo is killed, it is told so by `ABANDONED`, and not killed too."""


class Program:
    """One that runs."""

    def __init__(self, command: Command, process: Process, log: Path) -> None:
        self.name = command.name
        self._process = process
        self._log = log

    @classmethod
    async def start(cls, command: Command, folder: Path) -> Program:
        """Start it in a process group of its own: Ctrl-C of a terminal is for the demo, which ends them in order."""
        log = folder / f"{command.name}.log"
        last = ABANDONED if command.outlives else signal.SIGKILL
        with log.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-IS", tied.__file__, str(os.getpid()), str(int(last)), *command.words,
                stdin=DEVNULL,
                stdout=PIPE if command.talks else file,
                stderr=None if command.complains else file,
                env={**_environment(), **command.environment},
                process_group=0,
            )  # fmt: skip
        return cls(command, process, log)

    async def line(self) -> str | None:
        """The next line of one that talks; None when it has ended."""
        assert self._process.stdout is not None  # noqa: S101 - for mypy
        line = await self._process.stdout.readline()
        return line.decode(errors="replace").rstrip("\n") if line else None

    async def answers(self, address: str, path: str) -> None:
        """Wait until a GET is answered with 200.

        Raises:
            EndedError: it ended before.
        """
        host, _, port = address.rpartition(":")
        while not await _answers(host.strip("[]"), int(port), path):
            if self._process.returncode is not None:
                raise EndedError(self.last_words())
            await asyncio.sleep(_LOOK_EVERY_S)

    async def ended(self) -> str:
        """Wait for its end, which nobody wanted; what is to be said of it."""
        await self._process.wait()
        return self.last_words()

    def last_words(self) -> str:
        """How it ended, and the last line that it wrote."""
        lines = self._log.read_text(errors="replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"{self.name} has ended ({self._process.returncode}){': ' if said else ''}{said[:500]}"

    async def stop(self) -> None:
        """End it; with force if it takes its time."""
        if self._process.returncode is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def _environment() -> dict[str, str]:
    """Of this process, but for what exporters are told by it: the demo has a configuration of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COMFYUI_")}


async def _answers(host: str, port: int, path: str) -> bool:
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode())
        return b" 200 " in await reader.readline()
    except OSError:
        return False
    finally:
        writer.close()
