"""Where lines go: a terminal in colours, with rich if that is installed, or plain text."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from comfyui_exporter.terminal.table import Line, text_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

STYLES: Mapping[str, str] = {
    "good": "green",
    "bad": "bold red",
    "warn": "yellow",
    "run": "cyan",
    "quiet": "dim",
    "strong": "bold",
}


class Output:
    """Standard output. `space` is how wide a line may be, None where nobody looks."""

    def __init__(self) -> None:
        self.console: Console | None = None
        """None: plain text."""
        # In the C locale half of what a job may be called could not be printed.
        if (reconfigure := getattr(sys.stdout, "reconfigure", None)) is not None:
            reconfigure(errors="replace")
        self.is_terminal = sys.stdout.isatty()
        if self.is_terminal:
            self.console = _console()

    @property
    def space(self) -> int | None:
        """Cells of a line."""
        return shutil.get_terminal_size().columns if self.is_terminal else None

    def say(self, lines: Iterable[Line]) -> None:
        """Print lines."""
        for line in lines:
            if self.console is None:
                print(text_of(line), flush=True)  # noqa: T201  this is where output goes
            else:
                text = styled([line])
                text.end = "\n"
                self.console.print(text, soft_wrap=True)


def styled(lines: Iterable[Line]) -> Text:
    """Give lines to rich, without a line break after the last. What they say stays text: none of it is markup."""
    from rich.text import Text  # noqa: PLC0415  the extra `terminal` may be missing

    text = Text(no_wrap=True, end="")
    for number, line in enumerate(lines):
        if number:
            text.append("\n")
        for part, tone in line:
            text.append(part, STYLES.get(tone, ""))
    return text


def _console() -> Console | None:
    try:
        from rich.console import Console  # noqa: PLC0415
    except ImportError:
        return None
    return Console(highlight=False, emoji=False, markup=False)
