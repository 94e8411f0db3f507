"""Addresses, networks and paths as flags give them. Each function raises ValueError that says what is allowed."""

from __future__ import annotations

import ipaddress
import re

from comfyui_exporter.config.describe import quoted

Address = tuple[str, int]
"""Host and port; the host "" stands for all interfaces, the port 0 for any free one."""
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

RESERVED_PATHS = ("/ws", "/sd", "/api", "/-")
"""Where the other endpoints live."""


def listen_address(text: str) -> Address:
    """`host:port`, `:port` for all interfaces, `[::1]:9188`."""
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        message = f"found {quoted(text)}; allowed: HOST:PORT or :PORT with a port of 0 to 65535, such as :9188"
        if re.fullmatch(r"[0-9]{1,5}", text):
            message += f"; did you mean :{text}?"
        raise ValueError(message)
    if host.startswith("[") and host.endswith("]"):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            message = f"{quoted(host)} is not an IPv6 address; allowed: HOST:PORT, such as [::1]:9188"
            raise ValueError(message) from None
        return host[1:-1], int(port)
    if ":" in host:
        message = f"found {quoted(text)}; an IPv6 address needs brackets: did you mean [{host}]:{port}?"
        raise ValueError(message)
    if host and not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?", host):
        hint = f"; did you mean :{port}?" if host == "*" else ""
        message = f"{quoted(host)} is not a host name or IP address{hint}"
        raise ValueError(message)
    return host, int(port)


def network(text: str) -> Network:
    """A network such as `10.0.0.0/8`, or a single address."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        message = f"found {quoted(text)}; allowed: networks such as 10.0.0.0/8 or fd00::/8, or single addresses"
    else:
        message = f"{quoted(text)} has bits set after its prefix; did you mean {meant}?"
    raise ValueError(message)


def telemetry_path(text: str) -> str:
    """An absolute path that no other endpoint uses."""
    if not re.fullmatch(r"(/[A-Za-z0-9_.~-]+)+", text):
        message = f"found {quoted(text)}; allowed: an absolute path such as /metrics, of letters, digits and . _ ~ -"
        raise ValueError(message)
    if taken := next((path for path in RESERVED_PATHS if f"{text}/".startswith(f"{path}/")), None):
        message = f"found {quoted(text)}, but {taken} is taken by other endpoints"
        raise ValueError(message)
    return text
