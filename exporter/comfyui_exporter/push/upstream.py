"""The socket of a relay to its upstream: kept open, read, and asked."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import aiohttp
import msgspec

from comfyui_exporter.push.access import RELAY_PROTOCOL
from comfyui_exporter.push.mirror import Mirror
from comfyui_exporter.push.passed_on import PassedOn

log = logging.getLogger("comfyui_exporter.push")

HEARTBEAT = 20.0
"""Seconds between our pings; half of that later an upstream that does not answer is given up."""

LONGEST_MESSAGE = 16 * 1024 * 1024
"""Bytes: far more than any update has, and no more than a relay can bear."""

_CONNECT = 10.0
"""Seconds for connecting and the handshake."""

_LASTING = 10.0
"""Seconds after which a connection counts as stable, and earlier failures are forgotten."""

_IN_A_ROW = 100
"""Messages that are taken before others in the loop have their turn."""


class Waits(Protocol):
    """How long to wait between tries."""

    def failed(self) -> float:
        """Give the seconds after one more failure."""
        ...

    def reset(self) -> None:
        """Forget earlier failures."""
        ...


class Watcher(Protocol):
    """Who is told how it goes."""

    def connected(self, again: bool) -> None:
        """The socket is open, `again` if it was before."""
        ...

    def disconnected(self) -> None:
        """It is not open any more."""
        ...

    def complete(self) -> None:
        """The snapshot of this connection is complete."""
        ...


class Upstream:
    """Keeps the socket open until cancelled.

    `headers` and `tls` are asked for at each try, and may raise OSError and ValueError.
    """

    def __init__(
        self,
        url: str,
        *,
        mirror: Mirror,
        questions: PassedOn,
        watcher: Watcher,
        headers: Callable[[], Awaitable[Mapping[str, str]]],
        tls: Callable[[], Awaitable[ssl.SSLContext | bool]] | None = None,
        waits: Waits,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self._url = url
        self._mirror = mirror
        self._questions = questions
        self._watcher = watcher
        self._headers = headers
        self._tls = tls
        self._waits = waits
        self._heartbeat = heartbeat
        self._connections = 0
        self._told = False
        """Of the present outage."""

    async def run(self) -> None:
        """Connect, read, and connect again."""
        loop = asyncio.get_running_loop()
        timeout = aiohttp.ClientTimeout(total=None)
        trace = aiohttp.TraceConfig()
        trace.on_request_redirect.append(_refuse_redirect)
        async with aiohttp.ClientSession(
            timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[trace]
        ) as session:
            while True:
                opened: float | None = None
                try:
                    async with await self._connect(session) as socket:
                        opened = loop.time()
                        await self._attend(socket)
                        self._say("the upstream closed the connection (code %s)", socket.close_code)
                except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                    self._say("the upstream cannot be reached: %s", str(error) or type(error).__name__)
                except Exception:
                    log.exception("unexpected error with the upstream")
                if opened is not None and loop.time() - opened >= _LASTING:
                    self._waits.reset()
                await asyncio.sleep(self._waits.failed())

    async def _connect(self, session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
        async with asyncio.timeout(_CONNECT):
            return await session.ws_connect(
                self._url,
                headers=await self._headers(),
                ssl=True if self._tls is None else await self._tls(),
                protocols=(RELAY_PROTOCOL,),
                heartbeat=self._heartbeat,
                max_msg_size=LONGEST_MESSAGE,
                compress=0,
            )

    async def _attend(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        log.info("upstream connected")
        self._told = False
        self._watcher.connected(self._connections > 0)
        self._connections += 1
        self._mirror.connected()
        asking = asyncio.create_task(_send(socket, self._questions.connected()))
        try:
            await self._read(socket)
        finally:
            asking.cancel()
            self._questions.disconnected()
            self._watcher.disconnected()
            await asyncio.gather(asking, return_exceptions=True)

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        unread, in_a_row = 0, 0
        async for message in socket:
            if message.type is aiohttp.WSMsgType.ERROR:
                break
            try:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    unread += 1
                elif not self._questions.take(text := message.data.encode()) and self._mirror.take(text):
                    self._watcher.complete()
            except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
                unread += 1
                if unread == 1:
                    log.warning("a message of the upstream is not usable: %s", error)
            in_a_row += 1
            if in_a_row % _IN_A_ROW == 0:
                # What is received already is given without waiting.
                await asyncio.sleep(0)

    def _say(self, message: str, *details: object) -> None:
        # Once for each outage: it is tried again for as long as it takes.
        log.log(logging.DEBUG if self._told else logging.WARNING, message, *details)
        self._told = True


async def _refuse_redirect(
    _session: aiohttp.ClientSession, _context: object, params: aiohttp.TraceRequestRedirectParams
) -> None:
    """Opening a socket would follow it: whom a relay believes is for who configures it to say."""
    response = params.response
    response.close()
    raise aiohttp.ClientResponseError(
        response.request_info, response.history, status=response.status, message="it redirects, which is not followed"
    )


async def _send(socket: aiohttp.ClientWebSocketResponse, outgoing: asyncio.Queue[bytes]) -> None:
    while True:
        await socket.send_str((await outgoing.get()).decode())
