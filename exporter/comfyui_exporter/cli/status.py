"""`status`: a line for each server, and an exit code for scripts."""

from __future__ import annotations

from typing import Any, NoReturn

import click

from comfyui_exporter.cli.exporter_flags import Options, exporter_options

_EXIT_CODES = """\b
Exit codes:
  0  each server is up, and no job is stalled
  1  a server is down, not seen yet or not watched, or a job is stalled
  2  wrong usage
  3  the exporter cannot be reached, or does not let us in"""


@click.command(short_help="Say how the servers of an exporter are.", epilog=_EXIT_CODES)
@click.argument("exporter", metavar="[URL]", required=False)
@click.option("--server", multiple=True, metavar="NAME", help="This server.  [repeatable; default: all]")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@exporter_options
def status(*, exporter: str | None, server: tuple[str, ...], as_json: bool, **given: Any) -> NoReturn:
    """Say in a line for each server of the exporter at URL how it is; the exit code says whether all is well."""
    options = Options(given, exporter)
    from comfyui_exporter.terminal.ask import show_status  # noqa: PLC0415  --help is to be quick

    options.run(lambda exporter: show_status(exporter, server, as_json=as_json))
