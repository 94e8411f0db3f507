"""The handshake: from a request to a client of the hub, and the application around it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import socket
from collections.abc import Callable, Mapping
from typing import NoReturn

from aiohttp import hdrs, web

from comfyui_exporter.push.access import RELAY_PROTOCOL, Access, Refused
from comfyui_exporter.push.caller import CALLER, Caller
from comfyui_exporter.push.hub import Hub
from comfyui_exporter.push.rate import CLIENT, RELAY
from comfyui_exporter.push.subscription import Subscription, subscription

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

SEND_BUFFER = 128 * 1024
"""Bytes that the kernel is asked to hold for a client (Linux doubles it). Left to itself it takes megabytes for one
that does not read, and only when these are full do we see that it is slow."""

_RETRY_AFTER = 10
"""Seconds after which somebody who found us full may try again."""

SOCKETS = ("/", "/ws")
"""Paths of the socket on the push service's own port."""

_ABOUT = (
    "This is the push service of comfyui-exporter: it tells of the progress of ComfyUI's jobs.\n"
    "Connect to this address with a WebSocket; the protocol is JSON.\n"
)

SOCKETS = ("/", "/ws")
"""Paths of the socket on the push service's own port."""

_PARAMETERS = {
    "job_ids": "job_id",
    "prompt_ids": "prompt_id",
    "batch_ids": "batch_id",
    "servers": "server",
    "statuses": "status",
}
"""Lists of a subscription, and how they are called in a URL."""


class PushHandler:
    """Answers a GET that wants a WebSocket: `app.router.add_get("/ws", PushHandler(hub, access))`.

    `about` answers those that do not want one; without it they are told to.
    """

    def __init__(self, hub: Hub, access: Access, about: Callable[[], web.Response] | None = None) -> None:
        self._hub = hub
        self._access = access
        self._about = about

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Shake hands and hand the socket over to the hub."""
        if not _wants_socket(request):
            if self._about is not None:
                return self._about()
            _refuse(426, "upgrade_required", "connect with a WebSocket", {"Upgrade": "websocket"})
        accept = _accept_key(request)
        protocols = _protocols(request)
        try:
            admitted = await self._access.admit(
                origin=request.headers.get(hdrs.ORIGIN),
                host=request.headers.get(hdrs.HOST),
                authorization=request.headers.get(hdrs.AUTHORIZATION),
                protocols=protocols,
                known=CALLER.get() is Caller.USER,
            )
        except Refused as refused:
            headers = {"WWW-Authenticate": 'Bearer realm="comfyui-exporter"'} if refused.status == 401 else {}
            _refuse(refused.status, refused.code, refused.message, headers)
        wanted = _wanted(request)
        if self._hub.full:
            _refuse(503, "too_many_clients", "no more clients are taken", {"Retry-After": str(_RETRY_AFTER)})
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept}",
        ]
        if admitted.protocol is not None:
            lines.append(f"Sec-WebSocket-Protocol: {admitted.protocol}")
        transport, early = _take_over(request)
        if transport is not None:
            transport.write("\r\n".join([*lines, "", ""]).encode())
            limits = RELAY if RELAY_PROTOCOL in protocols else CLIENT
            self._hub.accept(transport, wanted=wanted, scope=admitted.scope, limits=limits, early=early)
        return _HandedOver()


def build_push_app(hub: Hub, access: Access) -> web.Application:
    """Make the application of the push service's own port: the socket at `/` and `/ws`, and a health check."""

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="comfyui-exporter push is healthy.\n")

    async def close(_: web.Application) -> None:
        await hub.close()

    app = web.Application()
    app.router.add_get("/", PushHandler(hub, access, lambda: web.Response(text=_ABOUT)).__call__)
    app.router.add_get("/ws", PushHandler(hub, access).__call__)
    app.router.add_get("/-/healthy", healthy)
    app.on_shutdown.append(close)
    return app


class _HandedOver(web.Response):
    """Nothing more to say: the socket is not aiohttp's any more."""

    def __init__(self) -> None:
        super().__init__(status=101)

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write nothing."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Write nothing."""


class _Early:
    """Gets what a client sent before it was answered, which aiohttp keeps for whoever reads next."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take it."""
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """Nothing to do."""


def _take_over(request: web.Request) -> tuple[asyncio.Transport | None, bytes]:
    """Part the socket from aiohttp's connection, whose tasks, parsers and buffers then go; None if it is gone.

    aiohttp's own WebSocket keeps all of these, 13 KiB and more for each client, and wants a task of ours to read. A
    client of the hub needs the transport alone. To the connection it looks as if the socket were lost.
    """
    protocol, transport = request.protocol, request.transport
    if transport is None or transport.is_closing():
        return None, b""
    early = _Early()
    protocol.set_parser(early)  # type: ignore[arg-type]
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    protocol.transport = None
    protocol.connection_lost(None)
    return transport, early.data


def _wants_socket(request: web.Request) -> bool:
    upgrade = request.headers.get(hdrs.UPGRADE, "").strip().lower()
    connection = ",".join(request.headers.getall(hdrs.CONNECTION, [])).lower()
    return upgrade == "websocket" and "upgrade" in {option.strip() for option in connection.split(",")}


def _accept_key(request: web.Request) -> str:
    if request.headers.get(hdrs.SEC_WEBSOCKET_VERSION, "").strip() != "13":
        _refuse(426, "upgrade_required", "WebSocket version 13 is spoken here", {"Sec-WebSocket-Version": "13"})
    key = request.headers.get(hdrs.SEC_WEBSOCKET_KEY, "").strip()
    try:
        fine = len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        fine = False
    if not fine:
        _refuse(400, "bad_request", "Sec-WebSocket-Key has to be 16 bytes in base64")
    return base64.b64encode(hashlib.sha1(key.encode() + _MAGIC).digest()).decode()  # noqa: S324  RFC 6455 wants it


def _protocols(request: web.Request) -> list[str]:
    given = ",".join(request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, []))
    names = [name for part in given.split(",") if (name := part.strip())]
    if not all(name.isascii() and name.isprintable() for name in names):
        # One of them would be said in our answer, which could not be.
        _refuse(400, "bad_request", "a subprotocol is no name of ASCII characters")
    return names


def _wanted(request: web.Request) -> Subscription:
    query = request.query
    try:
        return subscription(**{name: query.getall(key) if key in query else None for name, key in _PARAMETERS.items()})
    except ValueError as error:
        _refuse(400, "bad_request", str(error))


def _refuse(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> NoReturn:
    """Raise the response; its form is that of the HTTP API."""
    refusals: dict[int, type[web.HTTPException]] = {
        400: web.HTTPBadRequest,
        401: web.HTTPUnauthorized,
        403: web.HTTPForbidden,
        426: web.HTTPUpgradeRequired,
        503: web.HTTPServiceUnavailable,
    }
    body = json.dumps({"error": {"code": code, "message": message}})
    refusal = refusals[status](text=body + "\n", content_type="application/json", headers=headers)
    # Clients of WebSockets do not use a connection again; some wait for its end.
    refusal.force_close()
    raise refusal
