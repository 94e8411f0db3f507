"""One HTTP connection, with an end to the patience for those that do not go on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.http import HttpProcessingError

from comfyui_exporter.web.crowd import Crowd
from comfyui_exporter.web.headers import harden

MOST_HEAD = 64 * 1024
"""Bytes of the head of a request; aiohttp bounds each of 128 lines, which makes a megabyte."""


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
    """Cuts off who is slow; aiohttp alone waits for an hour, or for ever. It belongs to a crowd, which is bounded."""

    __slots__ = ("_crowd", "_first", "_head", "_patience")

    def __init__(self, server: web.Server, loop: asyncio.AbstractEventLoop, patience: Patience, crowd: Crowd) -> None:
        # What `AppRunner` would give it, but for the patience.
        # A compressed body is not unpacked: for a few bytes of anybody's, the loop would be busy for seconds.
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]
            keepalive_timeout=patience.idle,
            auto_decompress=False,
        )
        self._patience = patience
        self._crowd = crowd
        self._first: asyncio.TimerHandle | None = None
        self._head = 0
        """Bytes that came since the last head of a request was complete."""

    @property
    def waits(self) -> bool:
        """Whether it is waiting for the head of a request, and does nothing else."""
        return self._waiter is not None

    def cut_off(self) -> None:
        """End at once."""
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, and wait for the first request."""
        super().connection_made(transport)
        self._first = self._loop.call_later(self._patience.first_request, self._expect_first)
        self._crowd.join(self)

    def data_received(self, data: bytes) -> None:
        """Read on, unless this head has no end."""
        waited, heads = self.waits, self._request_count
        super().data_received(data)
        self._head = self._head + len(data) if waited and self._request_count == heads else 0
        if self._head > MOST_HEAD:
            self.cut_off()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End; or the socket was handed over."""
        if self._first is not None:
            self._first.cancel()
        self._crowd.leave(self)
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
        if isinstance(resp, web.Response) and resp.status == 417:
            resp.text = f"417: {resp.reason}\n"  # aiohttp repeats what was said
        body = resp.body if isinstance(resp, web.Response) else None
        try:
            with self._crowd.sending(len(body) if isinstance(body, bytes) else 0) as fits:
                answer = resp if fits else _too_much()
                async with asyncio.timeout(self._patience.answer):
                    done = await super().finish_response(request, answer, start_time)
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

    def log_exception(self, *args: Any, **named: Any) -> None:
        """Tell of defects of ours. That somebody speaks no HTTP is none, and anybody could fill the log with it."""
        if not isinstance(named.get("exc_info"), HttpProcessingError):
            super().log_exception(*args, **named)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP, or failed, without telling our versions or repeating what was said."""
        if isinstance(exc, UnicodeEncodeError) and "Expect" in request.headers:
            # aiohttp tells what it does not expect, and fails over what is no text.
            status, exc = 417, HttpProcessingError(code=417)
        response = super().handle_error(request, status, exc, message)
        harden(response)
        if isinstance(response, web.Response) and response.status < 500:
            response.text = f"{response.status}: {response.reason}\n"
        return response


def _too_much() -> web.Response:
    return web.Response(status=503, text="too many answers are not taken yet\n", headers={"Retry-After": "5"})
