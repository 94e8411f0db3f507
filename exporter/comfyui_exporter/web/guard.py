"""Who may write: who proved who they are, programs on this host or in trusted networks, and never others' web pages."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import web

from comfyui_exporter.config.addresses import Network
from comfyui_exporter.push.caller import CALLER, Caller
from comfyui_exporter.web.errors import ApiError

_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP")


class WriteGuard:
    """Judges requests that change something. `hosts` are names under which we are known."""

    def __init__(self, trusted: Iterable[Network] = (), hosts: Iterable[str] = ()) -> None:
        self._trusted = tuple(trusted)
        self._hosts = frozenset(host.lower() for host in hosts)

    def check(self, request: web.Request) -> None:
        """Let it pass or not.

        Raises:
            ApiError: 403.

        """
        if CALLER.get() is Caller.NOBODY and not self._is_trusted(request):
            raise ApiError(403, "forbidden", "writing needs credentials, loopback or one of --web.trusted-networks")
        origin = request.headers.get("Origin")
        if origin is not None and not self._is_own(origin, request.headers.get("Host", "")):
            raise ApiError(403, "cross_origin", "pages of another origin may not write")
        if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
            raise ApiError(403, "cross_origin", "pages of another origin may not write")

    def _is_trusted(self, request: web.Request) -> bool:
        try:
            address = ipaddress.ip_address(request.remote or "")
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address.version == network.version and address in network for network in self._trusted):
            return True
        # A proxy on this host makes the whole world look like loopback.
        return address.is_loopback and not any(name in request.headers for name in _FORWARDED)

    def _is_own(self, origin: str, host: str) -> bool:
        """Whether a page is ours: a name that anybody can point at us (DNS rebinding) proves nothing."""
        try:
            page = urlsplit(origin)
        except ValueError:
            return False
        if page.netloc.lower() != host.lower():
            return False
        name = (page.hostname or "").lower()
        return name in self._hosts or name == "localhost" or name.endswith(".localhost") or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
