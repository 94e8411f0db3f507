"""`check-config`: what a file says, whether it can be used, and whether its servers answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from comfyui_exporter.config.describe import printable
from comfyui_exporter.config.errors import ConfigError
from comfyui_exporter.config.load import check_files, load
from comfyui_exporter.config.model import DEFAULT_SERVER_URL, Config, default_servers
from comfyui_exporter.config.server_files import with_server_files
from comfyui_exporter.config.settings import warnings_of
from comfyui_exporter.config.web_config import load_web_config

if TYPE_CHECKING:
    from comfyui_exporter.probe import ProbeResult


def check_config(file: str | None, web_config_file: str | None = None, *, probe: bool) -> int:
    """Prints what is to be said of the files; 0 if they can be used (and, when probed, all servers answer), else 1."""
    results = [_check_web_config(web_config_file)] if web_config_file is not None else []
    if file is not None:
        results.append(_check_config(file, probe=probe))
    return max(results)


def _check_config(file: str, *, probe: bool) -> int:
    try:
        loaded = load(file)
        config, problems = with_server_files(loaded.config)
        if problems := (*check_files(loaded.config, loaded.document), *problems):
            raise ConfigError(problems)
    except ConfigError as error:
        return _refuse(file, error)
    click.echo(_verdict(file, config))
    _warn(file, warnings_of(config))
    return _probe(config) if probe else 0


def _check_web_config(file: str) -> int:
    try:
        protection = load_web_config(file)
    except ConfigError as error:
        return _refuse(file, error)
    count = len(protection.users)
    users = f"{count} user{'' if count == 1 else 's'}" if count else "no passwords"
    click.echo(f"{printable(file)}: OK, {'TLS' if protection.tls else 'no TLS'}, {users}")
    _warn(file, protection.warnings)
    return 0


def _refuse(file: str, error: ConfigError) -> int:
    count = len(error.problems)
    click.echo(str(error), err=True)
    click.echo(f"{printable(file)}: {count} problem{'s' if count > 1 else ''}", err=True)
    return 1


def _warn(file: str, warnings: Iterable[str]) -> None:
    for warning in warnings:
        click.echo(f"{printable(file)}: warning: {printable(warning)}", err=True)


def _verdict(file: str, config: Config) -> str:
    count = len(config.servers)
    servers = f"{count} server{'' if count == 1 else 's'}"
    if not count and not config.server_files:
        servers += f" ({DEFAULT_SERVER_URL} is watched unless --comfyui.url or COMFYUI_URL name others)"
    return f"{printable(file)}: OK, {servers}"


def _probe(config: Config) -> int:
    from comfyui_exporter.probe import probe_all  # noqa: PLC0415  loads the HTTP client, which only --probe needs

    servers = config.servers if config.servers or config.server_files else default_servers()
    results = asyncio.run(probe_all(config.with_servers(servers)))
    for line in table(results):
        click.echo(line)
    return 0 if all(result.ok for result in results) else 1


def table(results: Iterable[ProbeResult]) -> Sequence[str]:
    """One line for each server under a line of headings, in columns."""
    rows = [("SERVER", "STATE", "VERSION", "LATENCY", "QUEUE", "ERROR"), *(_row(result) for result in results)]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(result: ProbeResult) -> tuple[str, ...]:
    return (
        printable(result.server),
        "ok" if result.ok else "failed",
        printable(result.version or "-"),
        f"{result.latency_s * 1000:.0f}ms" if result.latency_s is not None else "-",
        str(result.queue_remaining) if result.queue_remaining is not None else "-",
        printable(result.error or ""),
    )
