"""Who may write: who proved who they are, programs on this host or in trusted networks, and never others' web pages.

And which web pages may read: none whose name was pointed at us (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import web

from comfyui_exporter.config.addresses import Network
from comfyui_exporter.push.caller import CALLER, Caller
from comfyui_exporter.web.errors import ApiError

_FORWARDED = ("Forwarded", "Via", "X-Real-IP")
_FORWARDED_PREFIX = "x-forwarded-"
"""What proxies add to requests that they pass on."""

_OF_BROWSERS = ("Accept-Language", "Sec-Fetch-Site", "Sec-Fetch-Mode")
"""What browsers send with every request; pages can change the first, and take away none."""

_NOT_FOR_SALE = (".svc", ".cluster.local", ".internal")
"""Domains of clusters and private networks: nobody can register a name below them."""


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
            raise ApiError(
                403,
                "forbidden",
                "writing needs credentials, or loopback or one of --web.trusted-networks without a proxy in between",
            )
        origin = request.headers.get("Origin")
        if origin is not None and not self._is_own(origin, request.headers.get("Host", "")):
            raise ApiError(403, "cross_origin", "pages of another origin may not write")
        if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
            raise ApiError(403, "cross_origin", "pages of another origin may not write")

    def check_reading(self, request: web.Request) -> None:
        """Keep out pages of a name that was pointed at us: their browser takes them for ours.

        With TLS it would not, and no browser gives credentials to another name. The answers to pages that say their
        origin are kept from them by the browser, unless CORS allows them.

        Raises:
            ApiError: 421.

        """
        if CALLER.get() is not Caller.NOBODY or request.get_extra_info("sslcontext") is not None:
            return
        headers = request.headers
        if "Origin" in headers or not any(name in headers for name in _OF_BROWSERS):
            return
        name = _host(f"http://{headers.get('Host', '')}")
        if self._is_ours(name) or (not _at_loopback(request) and name and _is_private_name(name)):
            return
        raise ApiError(421, "misdirected", "a browser may read under this name only if --web.external-url has it")

    def _is_trusted(self, request: web.Request) -> bool:
        # Whoever is in front of a proxy would be taken for the proxy.
        if any(name in request.headers for name in _FORWARDED) or any(
            name.lower().startswith(_FORWARDED_PREFIX) for name in request.headers
        ):
            return False
        try:
            address = ipaddress.ip_address(request.remote or "")
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address.version == network.version and address in network for network in self._trusted):
            return True
        return address.is_loopback

    def _is_own(self, origin: str, host: str) -> bool:
        """Whether a page is ours: a name that anybody can point at us (DNS rebinding) proves nothing."""
        try:
            page = urlsplit(origin)
        except ValueError:
            return False
        return page.netloc.lower() == host.lower() and self._is_ours(_host(origin))

    def _is_ours(self, name: str) -> bool:
        return name in self._hosts or name == "localhost" or name.endswith(".localhost") or _is_address(name)


def _host(url: str) -> str:
    """The name in lower case; empty if there is none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _at_loopback(request: web.Request) -> bool:
    """Whether it came to an address of ours that this host alone can reach."""
    ours = request.get_extra_info("sockname") or ("",)
    try:
        return ipaddress.ip_address(ours[0]).is_loopback
    except ValueError:
        return False


def _is_private_name(name: str) -> bool:
    """Whether it is one of containers and services, which their network alone knows."""
    return "." not in name or name.endswith(_NOT_FOR_SALE)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
