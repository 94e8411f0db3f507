"""`demo`: simulated ComfyUIs through a day in fast motion, and an exporter that watches them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import click

from comfyui_exporter.config.flags import BY_NAME

if TYPE_CHECKING:
    from comfyui_exporter.demo.ports import Wish


@click.command(short_help="Look at it all with simulated ComfyUIs, no GPU needed.")
@click.option(
    "--web.listen-address",
    "web",
    envvar=BY_NAME["web.listen-address"].variable,
    metavar="HOST:PORT",
    help="Where the exporter serves.  [default: 127.0.0.1:9188, or a free port if that is taken]",
)
@click.option(
    "--push.listen-address",
    "push",
    envvar=BY_NAME["push.listen-address"].variable,
    metavar="HOST:PORT",
    help="Where it pushes.  [default: 127.0.0.1:8329, or a free port if that is taken]",
)
@click.option("--with-stack", is_flag=True, help="Start Prometheus, Alertmanager and Grafana too, as far as installed.")
@click.option("--free-ports", is_flag=True, help="Take any free ports, not the usual ones.")
@click.option(
    "--log.level",
    "log_level",
    envvar=BY_NAME["log.level"].variable,
    type=click.Choice(("debug", "info", "warn", "error")),
    default="warn",
    show_default=True,
    help="Of the exporter.",
)
def demo(*, web: str | None, push: str | None, with_stack: bool, free_ports: bool, log_level: str) -> NoReturn:
    """Watch three simulated ComfyUIs through a day in fast motion: busy hours, failures, a job that hangs, restarts.

    Everything runs on this host, keeps its state in a temporary folder, and ends with this command.
    """
    # Not needed for --help, which is to be quick.
    from dataclasses import replace  # noqa: PLC0415

    from comfyui_exporter.demo.stage import Options, run  # noqa: PLC0415

    options = Options(with_stack=with_stack, free_ports=free_ports, log_level=log_level)
    if web is not None:
        options = replace(options, web=_wish(web, "--web.listen-address"))
    if push is not None:
        options = replace(options, push=_wish(push, "--push.listen-address"))
    sys.exit(run(options))


def _wish(text: str, flag: str) -> Wish:
    from comfyui_exporter.config.addresses import listen_address  # noqa: PLC0415
    from comfyui_exporter.demo.ports import Wish  # noqa: PLC0415

    try:
        host, port = listen_address(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=flag) from None
    return Wish(host, port, insists=port != 0)
