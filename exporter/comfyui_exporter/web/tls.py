"""Connections before they are HTTP: the handshake of TLS, with whichever context holds at that moment."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, cast

log = logging.getLogger("comfyui_exporter.web")

MOST_HANDSHAKES = 500
"""At a time; one that is well takes milliseconds."""

_GOODBYE = 5.0
"""Seconds that a client has to agree that a connection is over."""


def names_of(certificate: Mapping[str, Any] | None) -> Iterator[str]:
    """Give the subject alternative names of a verified certificate, as `getpeercert` tells them."""
    for kind, value in (certificate or {}).get("subjectAltName", ()):
        if kind == "IP Address":
            try:
                yield str(ipaddress.ip_address(value.strip()))
            except ValueError:
                continue
        elif kind in {"DNS", "email", "URI"}:
            yield value


class Doors:
    """Makes the protocol of each new connection: `make` is the one behind the handshake.

    `tls` gives the context of a connection and the names, one of which its certificate must have; no context: it is
    not encrypted. `handshake` are the seconds that a client has for it.
    """

    def __init__(
        self,
        make: Callable[[], asyncio.Protocol],
        tls: Callable[[], Awaitable[tuple[ssl.SSLContext | None, frozenset[str] | None]]],
        handshake: float,
    ) -> None:
        self._make = make
        self._tls = tls
        self._handshake = handshake
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._closed = False

    def __call__(self) -> asyncio.Protocol:
        """Make one, for `create_server`."""
        return _Door(self)

    def close(self) -> None:
        """Cut off those that are not through yet, and let in nobody more."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()

    def let_in(self, door: _Door, transport: asyncio.Transport) -> None:
        """Begin."""
        if self._closed:
            transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._let_in(door, transport))
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        if len(self._tasks) > MOST_HANDSHAKES:
            # Whoever takes longest: to refuse the new one would let those who say nothing keep everybody out.
            longest = next(iter(self._tasks))
            del self._tasks[longest]
            longest.cancel()

    async def _let_in(self, door: _Door, transport: asyncio.Transport) -> None:
        try:
            context, names = await self._tls()
            if context is not None:
                through = await asyncio.get_running_loop().start_tls(
                    transport,
                    door,
                    context,
                    server_side=True,
                    ssl_handshake_timeout=self._handshake,
                    ssl_shutdown_timeout=_GOODBYE,
                )
                if through is None:
                    return
                certificate = through.get_extra_info("peercert")
                if names is not None and names.isdisjoint(names_of(certificate)):
                    log.debug("a client certificate has none of client_allowed_sans")
                    through.abort()
                    return
                door.pass_on(through, self._make())
            else:
                door.pass_on(transport, self._make())
                transport.resume_reading()
        except (OSError, TimeoutError) as error:
            # Whoever speaks no TLS, or shows no certificate: of no interest, as anybody can do that.
            log.debug("a TLS handshake failed: %s", error)
            transport.abort()
        except asyncio.CancelledError:
            transport.abort()
            raise


class _Door(asyncio.Protocol):
    """Keeps what a client says until it is known who it is."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._early: list[bytes] = []
        self._eof = False
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.Transport", transport)
        # Before the handshake nothing may be read: it would be taken from it.
        stream.pause_reading()
        self._doors.let_in(self, stream)

    def data_received(self, data: bytes) -> None:
        # What came in one read with the end of the handshake, until the task goes on: little, and in one turn.
        self._early.append(data)

    def eof_received(self) -> None:
        self._eof = True

    def connection_lost(self, _: Exception | None) -> None:
        self._lost = True

    def pass_on(self, transport: asyncio.Transport, protocol: asyncio.Protocol) -> None:
        """Let the protocol behind the door take over."""
        if self._lost:
            return
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        for data in self._early:
            protocol.data_received(data)
        if self._eof:
            transport.close()
