"""`top`: what an exporter sees, live."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from comfyui_exporter.cli.exporter_flags import Options, exporter_options, waits

if TYPE_CHECKING:
    from comfyui_exporter.terminal.exporter import Exporter

_EXIT_CODES = """\b
Exit codes:
  0  ended by q, Ctrl-C or SIGTERM
  2  wrong usage; standard output is no terminal; rich is not installed
  3  the exporter cannot be reached at the start, or does not let us in"""

_NO_RICH = (
    "top needs rich, which the extra `terminal` brings: pip install 'comfyui-exporter[terminal]',\n"
    "or '.[terminal]' from a clone.\n"
    "status, jobs, wait and top --json work without it."
)


@click.command(short_help="Show servers, jobs and alerts live in the terminal.", epilog=_EXIT_CODES)
@click.argument("exporter", metavar="[URL]", required=False)
@click.option("--server", multiple=True, metavar="NAME", help="This server alone.  [repeatable; default: all]")
@click.option("--json", "as_json", is_flag=True, help="Messages of the push socket instead, one JSON object a line.")
@exporter_options
def top(*, exporter: str | None, server: tuple[str, ...], as_json: bool, **given: Any) -> NoReturn:
    """Show servers, running and waiting jobs, results and alerts of the exporter at URL, as they change.

    q quits; / and a part of a name shows these servers alone; s, r, w and e give the whole screen to servers, running
    and waiting jobs and results, a shows all again.
    """
    options = Options(given, exporter)
    if as_json:
        options.run(lambda exporter: _lines(exporter, server))
    if not sys.stdout.isatty():
        raise click.UsageError("top needs a terminal; `top --json`, `status` and `jobs` do not.")
    try:
        import rich  # noqa: F401, PLC0415
    except ImportError:
        click.echo(_NO_RICH, err=True)
        sys.exit(2)
    options.run(lambda exporter: _screen(exporter, server))


async def _screen(exporter: Exporter, servers: tuple[str, ...]) -> int:
    from comfyui_exporter.terminal.top import Top, ended_by_signals  # noqa: PLC0415
    from comfyui_exporter.terminal.tty import Screen  # noqa: PLC0415

    shown = Top(exporter, servers)
    async with ended_by_signals(shown.stop):
        await shown.run(lambda: Screen(shown.pressed, shown.redraw), waits())
    return 0


async def _lines(exporter: Exporter, servers: tuple[str, ...]) -> int:
    import asyncio  # noqa: PLC0415

    from comfyui_exporter.terminal.follow import follow  # noqa: PLC0415
    from comfyui_exporter.terminal.top import Lines, ended_by_signals  # noqa: PLC0415

    query = [("server", name) for name in servers]
    over = asyncio.Event()
    listening = asyncio.create_task(follow(exporter, query, Lines(click.echo), waits()))
    listening.add_done_callback(lambda _: over.set())
    async with ended_by_signals(over.set):
        await over.wait()
    if listening.done():
        listening.result()
    listening.cancel()
    return 0
