"""`comfyui-exporter`: reads the command line and hands over. Heavy imports wait until a command needs them."""

from __future__ import annotations

import logging
import os
import platform
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click

from comfyui_exporter import __version__
from comfyui_exporter.cli.demo import demo
from comfyui_exporter.cli.healthcheck import healthcheck
from comfyui_exporter.cli.jobs import jobs
from comfyui_exporter.cli.relay import relay
from comfyui_exporter.cli.simulate import simulate
from comfyui_exporter.cli.status import status
from comfyui_exporter.cli.top import top
from comfyui_exporter.cli.wait import wait
from comfyui_exporter.config.flags import FLAGS, Flag

DEFAULT_COMMAND = "run"
EXIT_CODES = """\b
Exit codes:
  0  fine
  1  check-config found problems; a server did not answer --probe; run failed; healthcheck: not ready
  2  wrong usage; run was given a configuration that it cannot use"""


class _Commands(click.Group):
    """A group that runs `run` when no command is named, as exporters without commands do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts the default command before flags."""
        if not args or (args[0].startswith("-") and args[0] not in {"--help", "-h", "--version"}):
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Shows the flags of `run` too: people ask for them with a plain --help."""
        super().format_options(ctx, formatter)
        command = self.commands[DEFAULT_COMMAND]
        with formatter.section(f"Flags of {DEFAULT_COMMAND}, the default command"):
            formatter.write_dl(
                [record for option in command.params if (record := option.get_help_record(ctx)) is not None]
            )


def version_text() -> str:
    """What --version prints, in the form of Prometheus exporters."""
    return (
        f"comfyui-exporter, version {__version__}\n"
        f"  python version:   {platform.python_version()}\n"
        f"  platform:         {sys.platform}/{platform.machine()}"
    )


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(version_text())
        ctx.exit()


def _version_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--version",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_print_version,
        help="Show the version and exit.",
    )(command)


def _run_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Declares the flags of the table. Values stay text: `config.settings` checks all of them together."""
    for flag in reversed(FLAGS):
        command = click.option(
            f"--{flag.name}",
            flag.parameter,
            metavar=flag.metavar,
            multiple=True,
            help=_help(flag),
        )(command)
    return command


def _help(flag: Flag) -> str:
    notes = [f"default: {flag.default}", f"env: {flag.variable}"]
    if flag.repeatable:
        notes.insert(0, "repeatable")
    return f"{flag.help}  [{'; '.join(notes)}]"


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=EXIT_CODES,
)
@_version_option
def cli() -> None:
    """Watches ComfyUI servers from outside and tells Prometheus the truth about their jobs."""


@cli.command(short_help="Watch ComfyUI and serve metrics (the default).", epilog=EXIT_CODES)
@_run_flags
@_version_option
def run(**values: Sequence[str]) -> NoReturn:
    """Watch ComfyUI and serve metrics (the default).

    Flags beat environment variables, which beat the file; servers of flags or COMFYUI_URL are added to the file's.
    """
    from comfyui_exporter.config.errors import ConfigError  # noqa: PLC0415  the models take a while to load
    from comfyui_exporter.config.settings import resolve_settings  # noqa: PLC0415

    try:
        settings = resolve_settings({flag.name: values[flag.parameter] for flag in FLAGS}, os.environ)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    from comfyui_exporter.app import run as run_app  # noqa: PLC0415
    from comfyui_exporter.cli.logs import configure  # noqa: PLC0415

    configure(settings.log_level, settings.log_format)
    logger = logging.getLogger("comfyui_exporter.config")
    for warning in settings.warnings:
        logger.warning("%s", warning)
    sys.exit(run_app(settings))


@cli.command("check-config", short_help="Validate a configuration file.", epilog=EXIT_CODES)
@click.argument("file", required=False)
@click.option("--web.config.file", "web_config_file", metavar="FILE", help="Also validate this web config file.")
@click.option("--probe", is_flag=True, help="Also ask each server, and say version, latency and queue.")
def check_config(file: str | None, *, web_config_file: str | None, probe: bool) -> NoReturn:
    """Validate a configuration FILE, a web config file, or both, and the files that they refer to."""
    if file is None and web_config_file is None:
        raise click.UsageError("Missing argument 'FILE'.")
    if file is None and probe:
        raise click.UsageError("--probe needs FILE, which names the servers.")
    from comfyui_exporter.cli.check import check_config as check  # noqa: PLC0415  the models take a while to load

    sys.exit(check(file, web_config_file, probe=probe))


cli.add_command(simulate)
cli.add_command(demo)
cli.add_command(relay)
cli.add_command(healthcheck)
for command in (top, status, jobs, wait):
    cli.add_command(command)


def main() -> None:
    """Entry point of the program."""
    cli(prog_name="comfyui-exporter")
