"""`relay`: the push service of another exporter, fanned out."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from comfyui_exporter.config.relay_flags import RELAY_FLAGS


def _options(command: Any) -> Any:
    for flag in reversed(RELAY_FLAGS):
        notes = [*(["repeatable"] if flag.repeatable else []), f"default: {flag.default or 'none, it is needed'}"]
        text = f"{flag.help}  [{'; '.join([*notes, f'env: {flag.variable}'])}]"
        command = click.option(f"--{flag.name}", flag.parameter, metavar=flag.metavar, multiple=True, help=text)(
            command
        )
    return command


@click.command(short_help="Serve the push protocol of another exporter to more clients.")
@_options
def relay(**values: Sequence[str]) -> NoReturn:
    """Serve the push protocol, fed by the push service of an exporter or of another relay.

    Flags beat environment variables.
    """
    # Not needed for --help, which is to be quick.
    from comfyui_exporter.config.errors import ConfigError  # noqa: PLC0415
    from comfyui_exporter.config.relay import resolve_relay  # noqa: PLC0415

    try:
        settings = resolve_relay({flag.name: values[flag.parameter] for flag in RELAY_FLAGS}, os.environ)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    from comfyui_exporter.cli.logs import configure  # noqa: PLC0415
    from comfyui_exporter.relay import run_relay  # noqa: PLC0415

    configure(settings.log_level, settings.log_format)
    for warning in settings.warnings:
        logging.getLogger("comfyui_exporter.config").warning("%s", warning)
    sys.exit(run_relay(settings))
