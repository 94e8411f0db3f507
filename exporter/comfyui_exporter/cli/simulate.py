"""`simulate`: a ComfyUI without a GPU, for trying things out."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import click

from comfyui_exporter.demo.day import SERVERS

_WITH_A_DAY = ("host", "port", "seed")
"""What can be told to a simulated ComfyUI that lives through a day of the demo: the rest is part of the story."""

_FLAGS: tuple[tuple[str, str, click.ParamType[Any], str], ...] = (
    ("--host", "host", click.STRING, "Address to listen on.  [default: 127.0.0.1]"),
    ("--port", "port", click.IntRange(0, 65535), "Port to listen on; 0: any free one.  [default: 8188]"),
    (
        "--profile",
        "profile",
        click.STRING,
        "Which version of ComfyUI is played; a wrong one lists all.  [default: 0.3.64]",
    ),
    (
        "--speed",
        "speed",
        click.FloatRange(0, min_open=True),
        "How many times faster than real time jobs run.  [default: 1]",
    ),
    ("--seed", "seed", click.INT, "The same seed gives the same jobs.  [default: 0]"),
    ("--rate", "rate", click.FloatRange(0), "Jobs a minute that it submits to itself.  [default: 0]"),
    (
        "--failure-rate",
        "failure_rate",
        click.FloatRange(0, 1),
        "Share of those jobs that fail, 0 to 1.  [default: 0.05]",
    ),
    ("--history", "preload_history", click.IntRange(0), "Finished jobs that it starts with.  [default: 0]"),
    ("--pending", "preload_pending", click.IntRange(0), "Waiting jobs that it starts with.  [default: 0]"),
    (
        "--graph-bytes",
        "graph_bytes",
        click.IntRange(0),
        "Size of the graph of each of those jobs, in bytes.  [default: 0, small ones]",
    ),
)


def _options(command: Any) -> Any:
    for flag, parameter, kind, text in reversed(_FLAGS):
        command = click.option(flag, parameter, type=kind, default=None, help=text)(command)
    return command


_bridge = click.option(
    "--bridge",
    is_flag=True,
    default=None,
    help="Have the extension comfyui_bridge: exporters hear of the jobs of others.",
)


_day = click.option(
    "--day",
    type=click.Choice(tuple(SERVERS)),
    help="Live through the day of that server of the demo; only with --host, --port and --seed.",
)


@click.command(short_help="Serve a simulated ComfyUI, no GPU needed.")
@_options
@_bridge
@_day
def simulate(*, day: str | None, **given: Any) -> NoReturn:
    """Serve a simulated ComfyUI: the same endpoints and WebSocket events, no GPU."""
    # Only what was typed: the simulator knows its defaults.
    typed = {name: value for name, value in given.items() if value is not None}
    if day is not None and (others := typed.keys() - set(_WITH_A_DAY)):
        flags = ", ".join(sorted(f"--{name.removeprefix('preload_').replace('_', '-')}" for name in others))
        raise click.UsageError(f"--day says all but where and when: {flags} cannot be given with it.")
    # Not needed for --help, which is to be quick.
    import asyncio  # noqa: PLC0415

    from comfyui_exporter.simulator import SimulateOptions, serve  # noqa: PLC0415

    options = SimulateOptions(**typed)
    try:
        if day is None:
            asyncio.run(serve(options))
        else:
            from comfyui_exporter.demo.studio import play_alone  # noqa: PLC0415

            asyncio.run(play_alone(day, options.host, options.port, options.seed))
    except KeyboardInterrupt:
        sys.exit(130)
    except ValueError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"cannot listen on {options.host}:{options.port}: {error.strerror or error}", err=True)
        sys.exit(1)
    sys.exit(0)
