"""Who may connect: web pages by their origin, everybody by the token if there is one."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from comfyui_exporter.push.tokens import decode_base64, job_of_token, same

PROTOCOL = "comfyui-exporter"
"""The subprotocol to offer besides one that carries a token."""

RELAY_PROTOCOL = "comfyui-exporter.relay"
"""The subprotocol that a relay offers, to be allowed as many questions as its clients have."""

_CARRIER = "token."

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class TokenSource(Protocol):
    """Where the token comes from."""

    async def token(self) -> str | None:
        """Give it; None while it is not known, and then nobody gets in."""


class Refused(Exception):  # noqa: N818  what happens to the client
    """Somebody may not connect."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Pass:
    """Somebody may connect."""

    protocol: str | None
    """The subprotocol to choose; browsers insist on one of those that they offered."""
    scope: str | None
    """The only prompt that it may know of; None: all."""


class Access:
    """Judges who connects.

    Args:
        allowed_origins: Origins of web pages, besides loopback and our own host; `*` for all.
        hosts: Host names under which we are known, as that of the external URL.
        token: Where the token comes from; None: none is asked for.

    """

    def __init__(
        self, *, allowed_origins: Iterable[str] = (), hosts: Iterable[str] = (), token: TokenSource | None = None
    ) -> None:
        origins = tuple(allowed_origins)
        self._everyone = "*" in origins
        self._origins = frozenset(filter(None, map(_origin, origins)))
        self._hosts = frozenset(host.lower() for host in hosts)
        self._token = token

    async def admit(
        self,
        *,
        origin: str | None,
        host: str | None,
        authorization: str | None,
        protocols: Sequence[str],
        known: bool = False,
    ) -> Pass:
        """Judge by the headers of a handshake; who is `known` by a password needs no token.

        Raises:
            Refused: it may not connect.

        """
        if not self.allows(origin, host):
            raise Refused(403, "forbidden", "pages of this origin may not connect; see push.allowed_origins")
        if self._token is None or known:
            ours = [name for name in protocols if name in {PROTOCOL, RELAY_PROTOCOL}]
            return Pass(next(iter([*ours, *protocols]), None), None)
        token = await self._token.token()
        if token is None:
            raise Refused(503, "unavailable", "the token cannot be checked at the moment")
        for shown, protocol in _shown(authorization, protocols):
            if same(shown, token):
                return Pass(protocol, None)
            if (prompt := job_of_token(shown, token)) is not None:
                return Pass(protocol, prompt)
        raise Refused(
            401, "unauthorized", "show the token in the Authorization header (Bearer), or as WebSocket subprotocol"
        )

    @property
    def asks_for_token(self) -> bool:
        """Whether there is a token to show."""
        return self._token is not None

    async def is_token(self, authorization: str | None) -> bool:
        """Whether an Authorization header carries the token for all."""
        token = await self._expected(authorization)
        return token is not None and any(same(shown, token) for shown, _ in _shown(authorization, ()))

    async def shows_token(self, authorization: str | None, protocols: str | None) -> bool:
        """Whether a handshake shows the token for all or one for one job; `protocols` is the header with these."""
        token = await self._expected(authorization or protocols)
        offered = [name.strip() for name in (protocols or "").split(",")]
        return token is not None and any(
            same(shown, token) or job_of_token(shown, token) is not None for shown, _ in _shown(authorization, offered)
        )

    async def _expected(self, shown: str | None) -> str | None:
        return None if self._token is None or not shown else await self._token.token()

    def allows(self, origin: str | None, host: str | None) -> bool:
        """Whether a page of that origin may talk to us, reached under `host`; no origin is no web page.

        That a page comes from the name that it calls us by proves nothing: any name can be made to point at us (DNS
        rebinding). It does if that is an address, which nobody can point elsewhere, or a name that we know as ours.
        """
        if origin is None or self._everyone:
            return True
        page = _origin(origin)
        if page is None:
            return False
        name = _host(page)
        if page in self._origins or _is_loopback(name) or name in self._hosts:
            return True
        return host is not None and _is_address(name) and name == _host(f"http://{host}")


def _shown(authorization: str | None, protocols: Sequence[str]) -> Iterable[tuple[str, str | None]]:
    """Give each token that is shown, with the subprotocol to choose if it is the right one."""
    offered = next((name for name in (RELAY_PROTOCOL, PROTOCOL) if name in protocols), None)
    scheme, _, given = (authorization or "").partition(" ")
    if scheme.lower() == "bearer" and given.strip():
        yield given.strip(), offered or next(iter(protocols), None)
    for protocol in protocols:
        yield protocol, protocol
        if protocol.startswith(_CARRIER):
            carried = protocol.removeprefix(_CARRIER)
            chosen = offered or protocol
            yield carried, chosen
            if (decoded := decode_base64(carried)) is not None:
                yield decoded, chosen


def _origin(text: str) -> str | None:
    """Give an origin in its one way of writing; None for what is none, such as `null`."""
    if not text.isascii():
        return None
    try:
        parts = urlsplit(text.strip().lower())
        port = parts.port
    except ValueError:
        return None
    if not parts.scheme or not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port or _DEFAULT_PORTS.get(parts.scheme, 0)}"


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback
