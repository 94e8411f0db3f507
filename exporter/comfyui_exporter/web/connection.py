"""One HTTP connection, with an end to the patience for those that do not go on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from comfyui_exporter.web.headers import SERVER


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds for each thing that a client may be slow with."""

    handshake: float = 10.0
    """TLS."""
    first_request: float = 20.0
    """From the connection until the head of the first request is complete."""
    idle: float = 75.0
    """From one answer until the head of the next request is complete; longer than the usual interval of scrapes."""
    answer: float = 60.0
    """To take an answer: a scrape that takes this long is over for Prometheus anyway."""
    goodbye: float = 10.0
    """To take what was left when the connection was closed."""


PATIENCE = Patience()


class Connection(web.RequestHandler):
    """Cuts off who is slow; aiohttp alone waits for an hour, or for ever."""

    __slots__ = ("_first", "_patience")

    def __init__(self, server: web.Server, loop: asyncio.AbstractEventLoop, patience: Patience) -> None:
        # What `AppRunner` would give it, but for the patience.
        super().__init__(server, loop=loop, access_log=None, keepalive_timeout=patience.idle)  # type: ignore[arg-type]
        self._patience = patience
        self._first: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, and wait for the first request."""
        super().connection_made(transport)
        self._first = self._loop.call_later(self._patience.first_request, self._expect_first)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End; or the socket was handed over."""
        if self._first is not None:
            self._first.cancel()
        super().connection_lost(exc)

    def _expect_first(self) -> None:
        self._first = None
        if self._request_count == 0:
            self.force_close()

    def force_close(self) -> None:
        """Close, and do not wait for ever that what was said is taken."""
        transport = self.transport
        if transport is not None and not transport.is_closing():
            self._abort_later(transport)
        super().force_close()

    async def finish_response(self, request: Any, resp: Any, start_time: float | None) -> tuple[Any, bool]:
        """Say it, to who takes it."""
        transport = self.transport
        try:
            async with asyncio.timeout(self._patience.answer):
                done = await super().finish_response(request, resp, start_time)
        except TimeoutError:
            if transport is not None:
                transport.abort()
            return resp, True
        if transport is not None and not resp.keep_alive:
            self._abort_later(transport)
        return done

    def _abort_later(self, transport: asyncio.Transport) -> None:
        if transport.get_write_buffer_size():
            # One that has said all until then is gone, and this does nothing.
            self._loop.call_later(self._patience.goodbye, transport.abort)

    def handle_error(self, *args: Any, **named: Any) -> web.StreamResponse:
        """Answer what is no HTTP, or failed, without telling our versions."""
        response = super().handle_error(*args, **named)
        response.headers["Server"] = SERVER
        return response
