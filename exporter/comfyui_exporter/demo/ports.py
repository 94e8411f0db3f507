"""Ports for what the demo starts: the usual ones, or free ones where these are taken."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass


class PortTakenError(Exception):
    """The port that was asked for is used by another program, or cannot be had."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Where something would like to listen."""

    host: str
    """"" stands for all interfaces."""
    port: int
    """0: any free one."""
    insists: bool = False
    """Somebody asked for this very port."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where it is going to listen."""

    host: str
    port: int
    instead_of: int | None = None
    """The port that it would have had, if that were free."""

    @property
    def address(self) -> str:
        """How a program on this host reaches it: `127.0.0.1:9188`."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - not bound
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def flag(self) -> str:
        """How a flag says where to listen."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def choose(wishes: Mapping[str, Wish]) -> dict[str, Place]:
    """A place for each; they are free now, and no two are the same.

    Raises:
        PortTakenError: one that insists cannot have its port.
    """
    places = {}
    with ExitStack() as held:
        for name, wish in wishes.items():
            places[name] = _place(wish, held)
    return places


def _place(wish: Wish, held: ExitStack) -> Place:
    try:
        return Place(wish.host, _bind(wish.host, wish.port, held))
    except OSError as error:
        if wish.insists:
            message = f"cannot listen on {wish.host}:{wish.port}: {error.strerror or error}"
            raise PortTakenError(message) from error
    try:
        return Place(wish.host, _bind(wish.host, 0, held), instead_of=wish.port)
    except OSError as error:
        message = f"cannot listen on {wish.host}: {error.strerror or error}"
        raise PortTakenError(message) from error


def _bind(host: str, port: int, held: ExitStack) -> int:
    """Bind a socket as servers do, and keep it until all have a port: two must not be given the same."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = held.enter_context(socket.socket(family, kind, protocol))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    # Bound alone it is not noticed by another that would listen, and that is no use of an address.
    listener.listen()
    bound: int = listener.getsockname()[1]
    return bound
