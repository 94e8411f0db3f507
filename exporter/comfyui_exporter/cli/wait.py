"""`wait`: until jobs have ended."""

from __future__ import annotations

from typing import Any, NoReturn

import click

from comfyui_exporter.cli.exporter_flags import Options, exporter_options, seconds, waits

_EXIT_CODES = """\b
Exit codes:
  0    completed
  1    failed
  2    wrong usage
  3    the exporter cannot be reached, was away for too long, or does not let us in
  4    lost: it disappeared, or was registered and no server ever showed it
  5    cancelled: interrupted, or deleted before it ran
  6    the exporter knows no such job, and none came within --appear-timeout
  7    --timeout is over, and it has not ended
  130  Ctrl-C; 143 SIGTERM
Of several jobs: 0 if all completed, else the lowest other code of any."""

_MOST = 100
"""Ids at once: they are a part of the address of a socket."""


@click.command(short_help="Wait until jobs have ended.", epilog=_EXIT_CODES)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--timeout", metavar="DURATION", callback=seconds, help="How long to wait in all.  [default: for ever]")
@click.option(
    "--appear-timeout",
    metavar="DURATION",
    default="1m",
    callback=seconds,
    help="How long to wait for a job that the exporter does not know.  [default: 1m]",
)
@click.option(
    "--away-timeout",
    metavar="DURATION",
    default="2m",
    callback=seconds,
    help="How long to wait for the exporter to come back, once it was there.  [default: 2m]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document in the end, and nothing before.")
@exporter_options
def wait(
    *,
    ids: tuple[str, ...],
    timeout: float | None,
    appear_timeout: float,
    away_timeout: float,
    as_json: bool,
    **given: Any,
) -> NoReturn:
    """Wait until each job, named by its prompt_id or job_id, has ended.

    On a terminal with a bar for each, elsewhere with a line for each change. Of a job that ended already, it says how
    at once; of several runs of one id, the one that goes on counts, else the one that ended last.
    """
    if len(ids) > _MOST:
        message = f"{len(ids)} jobs at once; allowed: {_MOST}"
        raise click.UsageError(message)
    options = Options(given)
    from comfyui_exporter.terminal.wait import wait_for  # noqa: PLC0415  --help is to be quick
    from comfyui_exporter.terminal.waiter import Patience  # noqa: PLC0415

    patience = Patience(timeout, appear_timeout, away_timeout)
    options.run(lambda exporter: wait_for(exporter, ids, patience, waits, as_json=as_json))
