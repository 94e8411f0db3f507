"""Who gets in: users with a password, holders of the push token, certificates; and how many requests at all."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Protocol

from aiohttp import web

from comfyui_exporter.push.caller import CALLER, Caller
from comfyui_exporter.web.bucket import Bucket
from comfyui_exporter.web.passwords import BusyError, Passwords
from comfyui_exporter.web.web_config import WebConfig

log = logging.getLogger("comfyui_exporter.web")

OPEN = frozenset({"/-/healthy", "/-/ready"})
"""Paths that ask for no password, as those who ask them have none, such as container runtimes; they say one bit."""

REALM = "comfyui-exporter"
_RETRY_AFTER = 5
_TELL_EVERY = 60.0
"""Seconds between lines that tell of wrong passwords."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Tokens(Protocol):
    """Judges the tokens of the push service (`Access`)."""

    async def is_token(self, authorization: str | None) -> bool:
        """Whether it carries the token for all."""
        ...

    async def shows_token(self, authorization: str | None, protocols: str | None) -> bool:
        """Whether a handshake shows the token for all, or one for one job."""
        ...


class Gate:
    """Stands before all routes of an application. One gate may stand before several: they share what they know."""

    def __init__(
        self,
        config: WebConfig,
        tokens: Tokens,
        passwords: Passwords | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._tokens = tokens
        self._passwords = passwords or Passwords(now=now)
        self._bucket = Bucket(now)
        self._now = now
        self._told: float | None = None
        self._untold = 0

    def add_to(self, app: web.Application, sockets: Collection[str] = ("/ws",)) -> None:
        """Stand before the routes of an application. At the paths `sockets`, push tokens are good in any form."""

        @web.middleware
        async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
            protection = (await self._config.fresh()).protection
            if protection.rate_limit is not None and not self._bucket.take(protection.rate_limit):
                return _refusal(429, "too_many_requests", "more requests than rate_limit allows")
            authorization = request.headers.get("Authorization")
            try:
                caller = await self._caller(request, authorization, protection.users)
            except BusyError:
                return _refusal(
                    503, "busy", "too many passwords wait to be checked", {"Retry-After": str(_RETRY_AFTER)}
                )
            CALLER.set(caller)
            if protection.users and caller is Caller.NOBODY and request.path not in OPEN:
                offered = request.headers.get("Sec-WebSocket-Protocol") if request.path in sockets else None
                # What such a token opens is left to the handshake, which is the only thing at these paths.
                if request.path not in sockets or not await self._tokens.shows_token(authorization, offered):
                    challenge = {"WWW-Authenticate": f'Basic realm="{REALM}", charset="UTF-8"'}
                    return _refusal(401, "unauthorized", "a user name with its password is needed", challenge)
            return await handler(request)

        app.middlewares.insert(0, gate)

    async def _caller(self, request: web.Request, authorization: str | None, users: Mapping[str, str]) -> Caller:
        if authorization is not None and await self._tokens.is_token(authorization):
            return Caller.TOKEN
        if not users:
            return Caller.CERTIFICATE if _has_certificate(request) else Caller.NOBODY
        given = _basic(authorization)
        if given is None:
            return Caller.NOBODY
        if await self._passwords.right(users, *given, _source(request.remote)):
            return Caller.USER
        self._tell(request.remote)
        return Caller.NOBODY

    def _tell(self, remote: str | None) -> None:
        self._untold += 1
        if self._told is None or self._now() - self._told >= _TELL_EVERY:
            # Not the name: people type their password there.
            log.warning("wrong user name or password", extra={"address": remote, "times": self._untold})
            self._told, self._untold = self._now(), 0


def _has_certificate(request: web.Request) -> bool:
    """Whether a certificate was shown; one that is not good ends the handshake."""
    return bool(request.get_extra_info("peercert"))


def _source(remote: str | None) -> str:
    """Who counts as one: an IPv4 address, and of IPv6 the network that a site has at least."""
    try:
        address = ipaddress.ip_address(remote or "")
    except ValueError:
        return remote or ""
    if address.version == 4:
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((int(address), 64), strict=False))


def _basic(authorization: str | None) -> tuple[str, str] | None:
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeError, ValueError):
        return None
    return (user, password) if colon else None


def _refusal(status: int, code: str, message: str, headers: Mapping[str, Any] | None = None) -> web.Response:
    body = json.dumps({"error": {"code": code, "message": message}})
    return web.Response(status=status, text=body + "\n", content_type="application/json", headers=headers)
