"""`wait`: bars on a terminal, lines elsewhere, and in the end what became of the jobs."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from comfyui_exporter.terminal.ask import print_json
from comfyui_exporter.terminal.exporter import Exporter
from comfyui_exporter.terminal.follow import Waits
from comfyui_exporter.terminal.output import Output, styled
from comfyui_exporter.terminal.plain import plain
from comfyui_exporter.terminal.report import bar_lines, change_line, change_of, end_lines
from comfyui_exporter.terminal.waiter import Patience, Waiter
from comfyui_exporter.terminal.waiting import Watched, exit_code

if TYPE_CHECKING:
    from rich.live import Live

_DRAW_EVERY = 0.2
"""Seconds."""


async def wait_for(
    exporter: Exporter, names: Sequence[str], patience: Patience, waits: Callable[[], Waits], *, as_json: bool
) -> int:
    """Wait until all have ended, and print how it goes; the exit code.

    Raises:
        UnreachableError: the exporter is not there at the start.
        RefusedError: it says no.

    """
    if as_json:
        silent = Waiter(exporter, names, patience, tell=lambda _: None, away=lambda _: None, waits=waits)
        await silent.run()
        print_json(document(silent.list.watched))
        return exit_code(silent.list.watched)
    view = _View(exporter, Output())
    waiter = Waiter(exporter, names, patience, tell=view.tell, away=view.away, waits=waits)
    await view.run(waiter)
    return exit_code(waiter.list.watched)


def document(watched: Sequence[Watched]) -> dict[str, Any]:
    """What scripts are told: each job with its outcome, and as it was last seen."""
    jobs = [{"id": each.name, **_outcome(each), "job": each.data} for each in watched]
    return {"exit_code": exit_code(watched), "jobs": jobs}


def _outcome(each: Watched) -> dict[str, Any]:
    return (
        {"outcome": None, "exit_code": None}
        if each.outcome is None
        else {
            "outcome": each.outcome.word,
            "exit_code": each.outcome.code,
        }
    )


class _View:
    """Shows how it goes."""

    def __init__(self, exporter: Exporter, output: Output) -> None:
        self._exporter = exporter
        self._output = output
        self._live: Live | None = None
        self._trouble: str | None = None
        self._titles: dict[str, str] = {}
        self._changes: dict[str, tuple[str, str]] = {}
        self._told: set[str] = set()

    async def run(self, waiter: Waiter) -> None:
        """Show until it is over."""
        self._titles = await self._exporter.titles()
        with self._bars():
            drawing = asyncio.create_task(self._draw(waiter))
            try:
                await waiter.run()
            finally:
                drawing.cancel()
                await asyncio.gather(drawing, return_exceptions=True)
        for each in waiter.list.watched:
            self._end(each)

    def tell(self, each: Watched) -> None:
        """A job changed."""
        if each.outcome is not None:
            self._end(each)
        elif self._live is None and (change := change_of(each)) != self._changes.get(each.name):
            self._changes[each.name] = change
            self._output.say([change_line(each, self._exporter.now())])

    def away(self, why: str | None) -> None:
        """The exporter is gone, or back."""
        self._trouble = why
        if self._live is None:
            words = "the exporter is back" if why is None else f"{plain(why, 200)}; trying again"
            self._output.say([((words, "quiet" if why is None else "warn"),)])

    def _end(self, each: Watched) -> None:
        if each.name not in self._told:
            self._told.add(each.name)
            self._output.say(end_lines(each, self._titles))

    @contextlib.contextmanager
    def _bars(self) -> Iterator[None]:
        console = self._output.console
        if console is None or console.is_dumb_terminal:
            yield
            return
        from rich.live import Live  # noqa: PLC0415  there is a console, so there is rich

        loop, waiting = asyncio.get_running_loop(), asyncio.current_task()
        if waiting is not None:
            # Without us the terminal would be left without its cursor; Ctrl-C ends it in the same way.
            loop.add_signal_handler(signal.SIGTERM, waiting.cancel)
        try:
            with Live(console=console, auto_refresh=False, transient=True) as self._live:
                yield
        finally:
            self._live = None
            loop.remove_signal_handler(signal.SIGTERM)

    async def _draw(self, waiter: Waiter) -> None:
        while self._live is not None:
            console = self._live.console
            shown = bar_lines(
                waiter.list.watched, self._exporter.now(), console.width, self._trouble, max(1, console.height - 3)
            )
            self._live.update(styled(shown), refresh=True)
            await asyncio.sleep(_DRAW_EVERY)
