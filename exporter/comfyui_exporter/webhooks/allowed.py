"""What a webhook_url of a registration may reach: no way into the private network."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from comfyui_exporter.config.webhook_urls import HookUrl, NotAllowedError, address_of, parse_hook_url

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GIVEN_OUT = ipaddress.IPv6Network("2000::/3")
"""All public IPv6 addresses there are so far."""
_COMPATIBLE = ipaddress.IPv6Network("::/96")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AllowedHosts:
    """Judges URLs when they are registered and addresses when they are connected to.

    `patterns` are hosts in lower case, or `*.` and a domain. With `private`, those that are listed in full may have
    private and loopback addresses.
    """

    def __init__(self, patterns: Iterable[str], *, private: bool = False) -> None:
        patterns = frozenset(patterns)
        self._hosts = frozenset(pattern for pattern in patterns if not pattern.startswith("*."))
        self._domains = tuple(pattern[1:] for pattern in patterns if pattern.startswith("*."))
        self._private = private

    def check(self, url: str) -> HookUrl:
        """Let a URL pass or not. Whether the name of its host leads to a public address, only connecting can tell.

        Raises:
            ValueError: it is no URL that could be called.
            NotAllowedError: its host is not allowed, or is an address that is not.

        """
        parsed = parse_hook_url(url)
        if parsed.host not in self._hosts and not parsed.host.endswith(self._domains):
            raise NotAllowedError("its host is not one of registered_webhooks.allowed_hosts")
        if address_of(parsed.host) is not None and not self.reachable(parsed.host, parsed.host):
            raise NotAllowedError("its address is not a public one")
        return parsed

    def reachable(self, host: str, address: str) -> bool:
        """Whether an address may be connected to that belongs to this host."""
        found = address_of(address)
        return found is not None and (
            _is_public(found) or (self._private and host.lower() in self._hosts and _is_private(found))
        )


def _is_public(address: _Address) -> bool:
    address = _inner(address)
    if isinstance(address, ipaddress.IPv6Address) and address not in _GIVEN_OUT:
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _is_private(address: _Address) -> bool:
    """Whether it is one that hosts of a private network have; link-local ones lead to credentials of clouds."""
    address = _inner(address)
    return address.is_loopback or not (
        address.is_link_local or address.is_multicast or address.is_reserved or address.is_unspecified
    )


def _inner(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 one stands for, by whatever way packets to it would take."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.teredo is not None:
        return address.teredo[1]
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and (
        address in _NAT64 or (address in _COMPATIBLE and not address.is_loopback and not address.is_unspecified)
    ):
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address
