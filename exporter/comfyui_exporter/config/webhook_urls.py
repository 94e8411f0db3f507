"""The rules for URLs that are called, and for the hosts that registrations may name."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from comfyui_exporter.config.describe import quoted
from comfyui_exporter.config.rules import DEFAULT_PORTS

LONGEST_URL = 2000
"""Characters; what common servers and proxies take."""

_URL = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?((?:[/?][!-~]*)?)", re.IGNORECASE)
"""So narrow that no two programs can read a URL differently: what was checked is what is connected to."""
_OF_NO_URL = frozenset('"<>\\^`{|}#')
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class NotAllowedError(Exception):
    """A URL is fine, but its host or address is not among those that may be called."""


@dataclass(frozen=True, slots=True)
class HookUrl:
    """A URL that can be called."""

    scheme: str
    host: str
    """In lower case; an IPv6 address stands without its brackets."""
    port: int


def parse_hook_url(text: str) -> HookUrl:
    """Take a URL apart. Messages never repeat it, as its path may be what keeps others from calling it.

    Raises:
        ValueError: it is no http or https URL, too long, or carries credentials or a fragment.
    """
    if len(text) > LONGEST_URL:
        message = f"is longer than {LONGEST_URL} characters"
        raise ValueError(message)
    scheme, _, rest = text.partition("://")
    if "@" in re.split(r"[/?#]", rest, maxsplit=1)[0]:
        raise ValueError("carries credentials; sign the calls with a secret_file instead")
    match = _URL.fullmatch(text)
    if match is None or not _OF_NO_URL.isdisjoint(match[4]):
        wrong = "is no URL" if scheme.lower() in DEFAULT_PORTS else "does not start with http:// or https://"
        message = f"{wrong}; write https://HOST/PATH, in ASCII, other characters as %XX, without a fragment"
        raise ValueError(message)
    host = _checked_host(match[2].lower())
    port = int(match[3]) if match[3] else DEFAULT_PORTS[match[1].lower()]
    if not 0 < port < 65_536:
        raise ValueError("has no valid port; allowed: 1 to 65535")
    return HookUrl(match[1].lower(), host, port)


def hook_url(text: str) -> str:
    """An http(s) URL with path and query as they were written: receivers may tell `/hook` from `/hook/`."""
    parse_hook_url(text)
    return text


def host_pattern(text: str) -> str:
    """The name of a host, an address, or `*.` and a domain for all hosts below it."""
    pattern = text.lower()
    try:
        host = _checked_host(pattern.removeprefix("*."))
    except ValueError:
        host = ""
    if not host or (pattern.startswith("*.") and (address_of(host) is not None or "." not in host)):
        message = f"found {quoted(text)}; allowed: a host such as hooks.example.org, or *.example.org for those below"
        raise ValueError(message)
    return f"*.{host}" if pattern.startswith("*.") else host


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _checked_host(host: str) -> str:
    if host.startswith("[") or ":" in host:
        try:
            return str(ipaddress.IPv6Address(host.removeprefix("[").removesuffix("]")))
        except ValueError:
            raise ValueError("has no valid IPv6 address in its brackets") from None
    if not _NAME.fullmatch(host):
        raise ValueError("has no valid host name")
    # 2130706433, 0x7f.1 and 127.1 are 127.0.0.1 to some programs and names to others.
    if _NUMBER.fullmatch(host.rpartition(".")[2]) and address_of(host) is None:
        raise ValueError("has a number that is no IPv4 address for its host")
    return host
