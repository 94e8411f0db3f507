"""A terminal of our own, for programs that want one."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from terminal.exporters import CLEAN, PATIENCE


class Terminal:
    """What a program wrote to it, and its keyboard."""

    def __init__(self, master: int, slave: int) -> None:
        self.written = ""
        self.process: asyncio.subprocess.Process | None = None
        self._master = master
        self._slave = slave
        self._news = asyncio.Event()
        os.set_blocking(master, False)
        asyncio.get_running_loop().add_reader(master, self._read)

    def _read(self) -> None:
        self.written += os.read(self._master, 65536).decode()
        self._news.set()

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def settings(self) -> list[Any]:
        """How it treats keys and lines."""
        return termios.tcgetattr(self._slave)

    @property
    def frame(self) -> list[str]:
        """The screen that was drawn last, as far as it came, without colours."""
        last = self.written.split("\x1b[H")[-1].split("\x1b[?7h")[0]
        return re.sub(r"\x1b\[[0-9;]*[mK]|\r", "", last).split("\n")

    async def until(self, done: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not done():
                    await self._news.wait()
                    self._news.clear()
        except TimeoutError:
            raise AssertionError(self.written[-4000:]) from None

    async def end(self) -> int:
        """Wait for the end of the program: its exit code. All it wrote is there then."""
        assert self.process is not None
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self._slave)


def _as_of_a_terminal() -> None:
    """Ours to control, and not as a background job whose shell lets it ignore Ctrl-C: so Ctrl-C is a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@asynccontextmanager
async def on_terminal(
    *arguments: str, size: tuple[int, int] = (80, 24), env: dict[str, str] | None = None
) -> AsyncIterator[Terminal]:
    """The program on a terminal of that size; its processes do not outlive it."""
    master, slave = pty.openpty()
    terminal = Terminal(master, slave)
    terminal.resize(*size)
    terminal.process = process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "comfyui_exporter", *arguments),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=CLEAN | {"TERM": "xterm", "NO_COLOR": "1"} | (env or {}),
        start_new_session=True,
        preexec_fn=_as_of_a_terminal,
    )
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        terminal.close()
