"""`healthcheck`: asks a running exporter whether it is ready, for containers that have no other program to ask with."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from comfyui_exporter.config.flags import BY_NAME

if TYPE_CHECKING:
    import ssl

_PATIENCE = 3.0
"""Seconds; what it asks answers from memory."""
_SHOWN = 200
"""Characters of an answer that are worth a line."""
_EVERYWHERE = {"", "0.0.0.0", "::"}  # noqa: S104  nothing is bound here
_DEFAULT_ADDRESS = ("127.0.0.1", 9188)


@click.command(short_help="Ask whether a running exporter is ready.")
@click.argument("url", required=False)
def healthcheck(url: str | None) -> NoReturn:
    """Ask whether a running exporter is ready: exit 0 if it says so, else 1.

    Without URL, the exporter on this host at the address of COMFYUI_EXPORTER_WEB_LISTEN_ADDRESS, with https if the
    file of COMFYUI_EXPORTER_WEB_CONFIG_FILE has a certificate. A relay is asked with http://127.0.0.1:8329/-/ready,
    a simulated ComfyUI with http://127.0.0.1:8188/prompt.
    """
    try:
        status, said = ask(
            url
            or default_url(
                os.environ.get(BY_NAME["web.listen-address"].variable, ""),
                tls=_has_certificate(os.environ.get(BY_NAME["web.config.file"].variable, "")),
            )
        )
    except (OSError, ValueError) as error:
        click.echo(f"no answer: {error}", err=True)
        sys.exit(1)
    click.echo(said, err=status != 200)
    sys.exit(0 if status == 200 else 1)


def default_url(listen_addresses: str, *, tls: bool = False) -> str:
    """Where an exporter that listens there can be reached from the same host; the first address counts."""
    # Not needed for --help, which is to be quick.
    from comfyui_exporter.config.addresses import listen_address  # noqa: PLC0415

    first = next(iter(listen_addresses.replace(",", " ").split()), None)
    host, port = listen_address(first) if first is not None else _DEFAULT_ADDRESS
    if host in _EVERYWHERE:
        host = "127.0.0.1"
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}/-/ready" if ":" in host else f"{scheme}://{host}:{port}/-/ready"


def _has_certificate(web_config_file: str) -> bool:
    """Whether an exporter with that web config serves TLS. Whether the file is right, the exporter has said."""
    if not web_config_file.strip():
        return False
    # Not the models of the configuration: they take ten times as long to load.
    import yaml  # noqa: PLC0415

    try:
        with open(web_config_file.strip(), "rb") as file:  # noqa: PTH123  pathlib would be one more import
            data = yaml.safe_load(file)
    except yaml.YAMLError as error:
        message = f"{web_config_file} is not YAML"
        raise ValueError(message) from error
    tls = data.get("tls_server_config") if isinstance(data, dict) else None
    return isinstance(tls, dict) and bool(tls.get("cert_file"))


def ask(url: str) -> tuple[int, str]:
    """The status of the answer, and one line of what it says.

    Raises:
        OSError: nothing answers, or what does speaks no HTTP.
        ValueError: it is not a URL that can be asked.
    """
    # Not urllib.request: it takes three times as long to load, and would obey proxies of the environment.
    from http.client import HTTPConnection, HTTPException, HTTPSConnection  # noqa: PLC0415
    from urllib.parse import urlsplit  # noqa: PLC0415

    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        message = f"{url!r} cannot be asked; allowed: http://HOST:PORT/PATH, or https"
        raise ValueError(message)
    connection = (
        HTTPConnection(parts.hostname, parts.port, timeout=_PATIENCE)
        if parts.scheme == "http"
        else HTTPSConnection(parts.hostname, parts.port, timeout=_PATIENCE, context=_context(parts.hostname))
    )
    try:
        connection.request("GET", f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}")
        answer = connection.getresponse()
        said = answer.read(_SHOWN).decode(errors="replace")
    except HTTPException as error:
        message = f"{url} speaks no HTTP: {error!r}"
        raise OSError(message) from error
    finally:
        connection.close()
    return answer.status, " ".join(f"{answer.status} {said}".split())


def _context(host: str) -> ssl.SSLContext:
    """Trust the system's authorities; on this host anybody, as the certificate is seldom made out to localhost."""
    import ssl  # noqa: PLC0415

    context = ssl.create_default_context()
    if host in {"localhost", "::1"} or host.startswith("127."):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
