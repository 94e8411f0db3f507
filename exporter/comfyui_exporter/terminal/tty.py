"""The terminal as `top` uses it: a screen of its own, keys as they are pressed, and all as it was in the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from rich.console import Console

from comfyui_exporter.terminal.output import styled
from comfyui_exporter.terminal.table import Line

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
"""The other screen, no cursor, and no line that goes on in the next should we be wrong about the width of a name."""
_LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _CLEAR_LINE = "\x1b[H", "\x1b[2K"
_NAMED = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
}
_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO.|.", re.DOTALL)
"""What one key sends."""


class Screen:
    """Takes the terminal: `with Screen(pressed, resized)`, inside a running loop.

    `pressed` is told each key: a character, or up, down, page up, page down, escape, enter, backspace.
    """

    def __init__(self, pressed: Callable[[str], None], redraw: Callable[[], None]) -> None:
        self._console = Console(highlight=False, emoji=False, markup=False)
        self._pressed = pressed
        self._redraw = redraw
        self._before: list[Any] | None = None
        self._keyboard = sys.stdin.fileno() if sys.stdin.isatty() else None

    def __enter__(self) -> Self:
        """Take it."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGWINCH, self._redraw)
        loop.add_signal_handler(signal.SIGTSTP, self._pause)
        if self._keyboard is not None:
            loop.add_reader(self._keyboard, self._read, self._keyboard)
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""
        loop = asyncio.get_running_loop()
        self._give_back()
        if self._keyboard is not None:
            loop.remove_reader(self._keyboard)
        loop.remove_signal_handler(signal.SIGTSTP)
        loop.remove_signal_handler(signal.SIGWINCH)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        # Not by rich, for which COLUMNS of the environment would count more.
        return os.get_terminal_size(sys.stdout.fileno())

    def show(self, lines: Iterable[Line]) -> None:
        """Draw all lines over those of before: what did not change does not flicker."""
        with self._console.capture() as capture:
            self._console.print(styled(lines), end="", soft_wrap=True)
        # Cleared before it is written: at the end of a full line the last cell would go.
        shown = (f"{_CLEAR_LINE}{line}" for line in capture.get().split("\n"))
        self._write(_HOME + "\r\n".join(shown))

    def _take(self) -> None:
        if self._keyboard is not None:
            self._before = termios.tcgetattr(self._keyboard)
            # Keys at once and unseen; Ctrl-C and Ctrl-Z go on to be signals.
            tty.setcbreak(self._keyboard)
        self._write(_ENTER)

    def _give_back(self) -> None:
        if self._keyboard is not None and self._before is not None:
            termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._before)
        self._write(_LEAVE)

    def _pause(self) -> None:
        """Ctrl-Z: the shell gets its terminal as it was, and we ours when we go on."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()
        self._redraw()

    def _read(self, keyboard: int) -> None:
        try:
            data = os.read(keyboard, 1024)
        except OSError:
            data = b""
        if not data:
            # The terminal is gone: there is nothing more to read, now and ever.
            asyncio.get_running_loop().remove_reader(keyboard)
            self._pressed("q")
        for key in _keys(data.decode(errors="ignore")):
            self._pressed(key)

    def _write(self, text: str) -> None:
        with contextlib.suppress(BlockingIOError):
            sys.stdout.write(text)
            sys.stdout.flush()


def _keys(data: str) -> Iterator[str]:
    """Give what was pressed. Keys that are not known send a sequence too, all of which is passed over."""
    for sequence in _SEQUENCE.findall(data):
        if sequence in _NAMED:
            yield _NAMED[sequence]
        elif len(sequence) == 1:
            yield sequence
