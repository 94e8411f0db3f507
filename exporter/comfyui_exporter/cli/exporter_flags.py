"""How `top`, `jobs`, `status` and `wait` are told where the exporter is, and how they end without it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from comfyui_exporter.config.terminal_flags import INSECURE, TERMINAL_FLAGS

if TYPE_CHECKING:
    from comfyui_exporter.terminal.exporter import Exporter
    from comfyui_exporter.terminal.follow import Waits

UNREACHABLE = 3
"""Exit code: the exporter is not there, or does not let us in."""


def exporter_options(command: Any) -> Any:
    """Declares them."""
    notes = f"[env: {INSECURE.variable}]"
    command = click.option("--insecure", is_flag=True, envvar=INSECURE.variable, help=f"{INSECURE.help}  {notes}")(
        command
    )
    for flag in reversed(TERMINAL_FLAGS):
        text = f"{flag.help}  [default: {flag.default}; env: {flag.variable}]"
        command = click.option(f"--{flag.name}", metavar=flag.metavar, envvar=flag.variable, help=text)(command)
    return command


class Options:
    """What was typed of them, checked before anything is tried; `argument` is a URL that was typed without a flag."""

    def __init__(self, given: dict[str, Any], argument: str | None = None) -> None:
        # Not needed for --help, which is to be quick.
        from comfyui_exporter.terminal.way import DEFAULT_URL, Way, address  # noqa: PLC0415

        files = {name: Path(given[name]) if given[name] else None for name in _FILES}
        try:
            self.way = Way(address(argument or given["url"] or DEFAULT_URL), insecure=given["insecure"], **files)
            self.way.check()
        except ValueError as error:
            raise click.UsageError(str(error)) from None

    def run(self, ask: Callable[[Exporter], Awaitable[int]]) -> NoReturn:
        """Ask the exporter, and end with the exit code of the answer."""
        import asyncio  # noqa: PLC0415

        from comfyui_exporter.terminal.exporter import Exporter, RefusedError, UnreachableError  # noqa: PLC0415

        async def asked() -> int:
            async with Exporter(self.way) as exporter:
                return await ask(exporter)

        try:
            code = asyncio.run(asked())
        except (UnreachableError, RefusedError) as error:
            click.echo(str(error), err=True)
            code = UNREACHABLE
        except KeyboardInterrupt:
            code = 130
        except asyncio.CancelledError:
            code = 143  # as if SIGTERM had ended it
        except BrokenPipeError:
            # `| head` has seen enough. What is left to flush is for nobody.
            import os  # noqa: PLC0415

            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 141
        sys.exit(code)


def waits() -> Waits:
    """How long to wait between tries to connect."""
    from random import random  # noqa: PLC0415

    from comfyui_exporter.terminal.follow import Waits  # noqa: PLC0415

    return Waits(random)


def seconds(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """A duration, as in the configuration."""
    if text is None:
        return None
    from comfyui_exporter.config.units import parse_duration  # noqa: PLC0415

    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_FILES = ("token_file", "basic_auth_file", "ca_file", "cert_file", "key_file")
