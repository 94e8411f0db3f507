"""One try of a delivery: POST, and what came of it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum, auto

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from comfyui_exporter import __version__
from comfyui_exporter.config.webhook_urls import NotAllowedError
from comfyui_exporter.webhooks.allowed import AllowedHosts
from comfyui_exporter.webhooks.delivery import REGISTRATION, Delivery
from comfyui_exporter.webhooks.signing import headers_of

TIMEOUT = 10.0
"""Seconds for one try; a receiver that works longer takes the call and does its work afterwards."""


class Verdict(Enum):
    """What a try came to."""

    DELIVERED = auto()
    FAILED = auto()
    """Nobody took it; that may change."""
    GONE = auto()
    """The receiver says that it will never take it (410)."""
    REFUSED = auto()
    """We do not call this URL."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a try came to, and why in words that hold nothing of the URL."""

    verdict: Verdict
    why: str = ""
    retry_after: float | None = None
    """Seconds that the receiver asks us to wait."""


Secret = Callable[[], Awaitable[str | None]]
"""Gives the newest secret; None if it cannot be read."""


@dataclass(frozen=True, slots=True)
class Target:
    """A hook that may be called: how it is signed (not at all without `secret`)."""

    secret: Secret | None = None


class Poster:
    """Makes calls. `targets` are the hooks by their keys, as in deliveries; others are refused.

    With `allowed`, the target of registrations is held to that.
    """

    def __init__(
        self,
        targets: Mapping[str, Target],
        allowed: AllowedHosts,
        wall: Callable[[], float],
        *,
        timeout: float = TIMEOUT,
        resolver: Callable[[], AbstractResolver] = aiohttp.ThreadedResolver,
    ) -> None:
        self._targets = dict(targets)
        self._allowed = allowed
        self._wall = wall
        self._timeout = timeout
        self._resolver = resolver
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def post(self, delivery: Delivery) -> Outcome:
        """Try it once; raises nothing for whatever the other side does."""
        target = self._targets.get(delivery.hook)
        if target is None:
            return Outcome(Verdict.REFUSED, "it is not configured any more")
        try:
            if delivery.hook == REGISTRATION:
                self._allowed.check(delivery.url)
            secret = None if target.secret is None else await target.secret()
            if target.secret is not None and secret is None:
                return Outcome(Verdict.FAILED, "its secret cannot be read")
            return await self._post(delivery, secret)
        except NotAllowedError as error:
            return Outcome(Verdict.REFUSED, str(error))
        except TimeoutError:
            return Outcome(Verdict.FAILED, f"no answer in {self._timeout:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Outcome(Verdict.FAILED, _why(error))

    async def close(self) -> None:
        """Close every connection."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def _post(self, delivery: Delivery, secret: str | None) -> Outcome:
        session = self._session(guarded=delivery.hook == REGISTRATION)
        headers = headers_of(delivery.delivery_id, int(self._wall()), delivery.body, secret)
        async with session.post(
            # As it was written: a signature in the query would not survive being quoted anew.
            URL(delivery.url, encoded=True),
            data=delivery.body.encode(),
            headers={**headers, "Content-Type": "application/json"},
            allow_redirects=False,
        ) as response:
            # The body is not read: leaving closes the connection if there is more of it than came along.
            return _judged(response.status, response.headers.get("Retry-After"), self._wall())

    def _session(self, *, guarded: bool) -> aiohttp.ClientSession:
        if guarded not in self._sessions:
            resolver = self._resolver()
            self._sessions[guarded] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=_CheckedResolver(resolver, self._allowed.reachable) if guarded else resolver,
                    use_dns_cache=False,
                    keepalive_timeout=30,
                ),
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                headers={"User-Agent": f"comfyui-exporter/{__version__}", "Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._sessions[guarded]


class _CheckedResolver(AbstractResolver):
    """Gives only addresses that may be connected to: a name that passed a check can lead elsewhere a moment later."""

    def __init__(self, resolver: AbstractResolver, reachable: Callable[[str, str], bool]) -> None:
        self._resolver = resolver
        self._reachable = reachable

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        allowed = [one for one in found if self._reachable(host, one["host"])]
        if found and not allowed:
            raise NotAllowedError("the name of its host does not lead to a public address")
        return allowed

    async def close(self) -> None:
        await self._resolver.close()


def _judged(status: int, retry_after: str | None, now: float) -> Outcome:
    if 200 <= status < 300:
        return Outcome(Verdict.DELIVERED)
    if status == 410:
        return Outcome(Verdict.GONE, "status 410")
    # Other 4xx too: a receiver that is being deployed answers 404, one whose secret is being changed 401.
    return Outcome(Verdict.FAILED, f"status {status}", None if retry_after is None else _seconds(retry_after, now))


def _seconds(retry_after: str, now: float) -> float | None:
    if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 10:
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
        return max(0.0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _why(error: BaseException) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
            return "its certificate is not trusted"
        case aiohttp.ClientConnectorDNSError():
            return "its host name is not found"
        case aiohttp.ClientConnectorError():
            return f"cannot connect: {error.strerror or type(error.os_error).__name__}"[:200]
        case aiohttp.ServerDisconnectedError():
            return "it closed the connection without an answer"
        case _:
            # Their texts may hold the URL.
            return f"no usable answer ({type(error).__name__})"
