"""`jobs`: a table of jobs, of now and of the past."""

from __future__ import annotations

from typing import Any, NoReturn

import click

from comfyui_exporter.cli.exporter_flags import Options, exporter_options
from comfyui_exporter.jobs.update import ProgressStatus

_EXIT_CODES = """\b
Exit codes:
  0  fine, also if there are no such jobs
  2  wrong usage
  3  the exporter cannot be reached, or does not let us in"""


@click.command(short_help="List jobs of an exporter, the newest first.", epilog=_EXIT_CODES)
@click.argument("exporter", metavar="[URL]", required=False)
@click.option(
    "--status",
    type=click.Choice([status.value for status in ProgressStatus]),
    multiple=True,
    metavar="STATUS",
    help=f"Jobs with this status: {', '.join(ProgressStatus)}.  [repeatable]",
)
@click.option("--server", multiple=True, metavar="NAME", help="Jobs of this server.  [repeatable]")
@click.option("--job-type", multiple=True, metavar="TYPE", help="Jobs of this type.  [repeatable]")
@click.option("--batch-id", multiple=True, metavar="ID", help="Jobs of this batch.  [repeatable]")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=20, metavar="NUMBER", help="How many at most.  [default: 20]"
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document, as /api/v1/jobs gives it.")
@exporter_options
def jobs(*, exporter: str | None, limit: int, as_json: bool, **given: Any) -> NoReturn:
    """List jobs of the exporter at URL, the newest first; those that ended too, as long as its store keeps them."""
    options = Options(given, exporter)
    query = [(name, value) for name in ("status", "server", "job_type", "batch_id") for value in given[name]]
    from comfyui_exporter.terminal.ask import show_jobs  # noqa: PLC0415  --help is to be quick

    options.run(lambda exporter: show_jobs(exporter, query, limit, as_json=as_json))
