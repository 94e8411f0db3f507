"""`simulate`: a ComfyUI without a GPU, for trying things out."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import click

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


@click.command(short_help="Serve a simulated ComfyUI, no GPU needed.")
@_options
@_bridge
def simulate(**given: Any) -> NoReturn:
    """Serve a simulated ComfyUI: the same endpoints and WebSocket events, no GPU."""
    # Not needed for --help, which is to be quick.
    import asyncio  # noqa: PLC0415

    from comfyui_exporter.simulator import SimulateOptions, serve  # noqa: PLC0415

    # Only what was typed: the simulator knows its defaults.
    options = SimulateOptions(**{name: value for name, value in given.items() if value is not None})
    try:
        asyncio.run(serve(options))
    except KeyboardInterrupt:
        sys.exit(130)
    except ValueError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"cannot listen on {options.host}:{options.port}: {error.strerror or error}", err=True)
        sys.exit(1)
    sys.exit(0)
