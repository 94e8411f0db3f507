"""Everything that the demo starts, in which order, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from comfyui_exporter.demo import shown, stack, studio, watching
from comfyui_exporter.demo.day import SERVERS
from comfyui_exporter.demo.ports import Place, PortTakenError, Wish, choose
from comfyui_exporter.demo.programs import Command, EndedError, Program
from comfyui_exporter.demo.stack import Installed, Stack

FINE, FAILED = 0, 1
"""Exit codes: ended by a signal; something could not be started, or ended by itself."""

_WEB, _PUSH = Wish("127.0.0.1", 9188), Wish("127.0.0.1", 8329)
"""As for `run`."""

_FIRST_SERVER_PORT = 18188
"""Not 8188, where a real ComfyUI listens."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `comfyui-exporter demo` can be told."""

    web: Wish = _WEB
    push: Wish = _PUSH
    with_stack: bool = False
    free_ports: bool = False
    """Any free ports instead of the usual ones, but for an address that was asked for."""
    log_level: str = "warn"


class UnusableError(Exception):
    """The demo cannot be what was asked for; the message says why."""


def run(options: Options) -> int:
    """Run it until SIGINT, SIGTERM or SIGHUP; the exit code."""
    try:
        return asyncio.run(_run(options))
    except* (PortTakenError, UnusableError, EndedError) as errors:
        sys.stderr.write(f"{_first(errors)}\n")
    return FAILED


def _first(errors: BaseExceptionGroup) -> BaseException:
    """One of them says it: when one program ends, others may follow."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _run(options: Options) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    installed = _installed() if options.with_stack else {}
    places = choose(_wishes(options, installed))
    with tempfile.TemporaryDirectory(prefix="comfyui-exporter-demo-", ignore_cleanup_errors=True) as folder:
        async with Stage(Path(folder), places, installed, options) as stage:
            happening = asyncio.create_task(stage.happen())
            stopped = asyncio.create_task(stop.wait())
            done, pending = await asyncio.wait({happening, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            if happening in done:
                happening.result()
    return FINE


def _installed() -> dict[str, Installed]:
    installed = stack.find()
    if not installed:
        raise UnusableError(
            "--with-stack: none of prometheus, alertmanager (or prometheus-alertmanager) and grafana is on PATH; "
            "GRAFANA_HOME may name the folder of a Grafana"
        )
    if stack.shipped() is None:
        raise UnusableError("--with-stack: this installation has no configuration for Prometheus and the others")
    return installed


def _wishes(options: Options, installed: Iterable[str]) -> dict[str, Wish]:
    servers = {name: Wish("127.0.0.1", _FIRST_SERVER_PORT + number) for number, name in enumerate(SERVERS)}
    wishes = {"web": options.web, "push": options.push, **servers, **{name: stack.USUAL[name] for name in installed}}
    if options.free_ports:
        wishes = {name: wish if wish.insists else replace(wish, port=0) for name, wish in wishes.items()}
    return wishes


class Stage:
    """The programs; they end with it."""

    def __init__(
        self, folder: Path, places: Mapping[str, Place], installed: Mapping[str, Installed], options: Options
    ) -> None:
        self._folder = folder
        self._web, self._push = places["web"], places["push"]
        self._servers = {name: places[name] for name in SERVERS}
        self._around = {name: places[name] for name in installed}
        self._installed = installed
        self._options = options
        self._programs: list[Program] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The ComfyUIs last: the exporter would complain that they do not answer.
        studio_last = self._programs[1:], self._programs[:1]
        for programs in studio_last:
            await asyncio.gather(*(program.stop() for program in programs))

    async def happen(self) -> None:
        """Start everything, say where it is, and tell what happens.

        Raises:
            EndedError: one of the programs has ended, at the start or later.
        """
        played = await self._start(studio.command(self._servers, self._folder))
        if await played.line() != studio.READY:
            raise EndedError(await played.ended())
        around = Stack(stack.shipped() or Path(), self._folder, self._web, self._around)
        links = around.links()
        exporter = await self._start(
            watching.exporter(self._servers, self._web, self._push, links, self._folder, self._options.log_level)
        )
        others = [await self._start(around.command(name, found)) for name, found in self._installed.items()]
        await exporter.answers(self._web.address, "/-/ready")
        missing = set(stack.USUAL) - set(self._around) if self._options.with_stack else set()
        _say(shown.block(self._servers, self._web, self._push, self._around, missing))
        async with asyncio.TaskGroup() as watched:
            watched.create_task(_tell(played))
            for program in self._programs:
                watched.create_task(_fail_with(program))
            watched.create_task(self._tell_when_ready(others))

    async def _start(self, command: Command) -> Program:
        program = await Program.start(command, self._folder)
        self._programs.append(program)
        return program

    async def _tell_when_ready(self, programs: Iterable[Program]) -> None:
        for program in programs:
            await program.answers(self._around[program.name].address, stack.READY[program.name])
        if self._around:
            _say(f"{shown.names(self._around)} can be used now.")


async def _tell(played: Program) -> None:
    while (line := await played.line()) is not None:
        _say(line)


async def _fail_with(program: Program) -> None:
    raise EndedError(await program.ended())


def _say(text: str) -> None:
    # Whoever does not listen any more may still look at the pages.
    with suppress(OSError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
