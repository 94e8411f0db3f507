"""How connections to a ComfyUI are made, and why they could not be."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

_KEEPALIVE = 60.0
"""Seconds: below the 75 s after which ComfyUI's server closes an idle connection, so that a new one means news."""


def _no_headers() -> Mapping[str, str]:
    return {}


def _usual_tls() -> ssl.SSLContext | bool:
    return True


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a ComfyUI beyond its URL.

    Both are called in a thread and may raise OSError and ValueError. Secrets and certificates may change: `headers` is
    called at the first request and again after a 401 or 403, `tls` at the first and when a connection broke.
    """

    headers: Callable[[], Mapping[str, str]] = _no_headers
    tls: Callable[[], ssl.SSLContext | bool] = _usual_tls


def open_session(
    headers: Mapping[str, str],
    tls: ssl.SSLContext | bool,
    timeout: float,
    connected: Callable[[], None],
    *,
    follows_redirects: bool,
) -> aiohttp.ClientSession:
    """Open a session that has one connection at a time; `connected` is told of each that it makes.

    `follows_redirects`: what it is used for would follow them if it were not kept from it.
    """
    return aiohttp.ClientSession(
        connector=_Connector(connected, limit=1, keepalive_timeout=_KEEPALIVE, ssl=tls),
        timeout=aiohttp.ClientTimeout(total=timeout),
        # Compressing costs ComfyUI CPU that its GPU waits for.
        headers={"Accept-Encoding": "identity", "User-Agent": "comfyui-exporter", **headers},
        # A trace costs each request a twentieth of its time.
        trace_configs=[_refusing_redirects()] if follows_redirects else [],
        cookie_jar=aiohttp.DummyCookieJar(),
    )


class _Connector(aiohttp.TCPConnector):
    """Tells of each connection that it made."""

    def __init__(self, connected: Callable[[], None], **options: Any) -> None:
        super().__init__(**options)
        self._tell_connected = connected

    async def _create_connection(self, *arguments: Any, **named: Any) -> ResponseHandler:
        protocol = await super()._create_connection(*arguments, **named)
        self._tell_connected()
        return protocol


def _refusing_redirects() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse_redirect)
    return trace


async def _refuse_redirect(
    _session: aiohttp.ClientSession, _context: object, params: aiohttp.TraceRequestRedirectParams
) -> None:
    """Opening a socket follows redirects, and would take our secrets along to wherever they lead."""
    response = params.response
    response.close()
    raise aiohttp.ClientResponseError(response.request_info, response.history, status=response.status)


def why(error: BaseException) -> str:
    """Say why a connection failed, in at most 300 characters."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect to {error.host}:{error.port}: {error.strerror or error.os_error}"[:300]
    return (str(error) or type(error).__name__)[:300]


def refused(error: BaseException) -> bool:
    """Whether nothing listens there."""
    return isinstance(error, OSError) and error.errno == errno.ECONNREFUSED
