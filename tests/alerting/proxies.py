"""What stands between programs and is to blame: a slow line, and a proxy that lets no event through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import WSMsgType, web


class Proxy:
    """Passes requests on to `to`, which may be set after it has started."""

    def __init__(self) -> None:
        self.to = ""
        self.address = ""
        self.delay_s = 0.0
        """Before each answer."""
        self.mute = False
        """Of what comes by WebSocket nothing is passed on."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.address}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        await asyncio.sleep(self.delay_s)
        async with (
            aiohttp.ClientSession(auto_decompress=True) as session,
            session.request(request.method, self.to + request.raw_path, data=await request.read()) as answer,
        ):
            text = await answer.text()
            return web.Response(text=text, status=answer.status, content_type=answer.content_type)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        ours = web.WebSocketResponse()
        await ours.prepare(request)
        async with aiohttp.ClientSession() as session, session.ws_connect(self.to + request.raw_path) as theirs:
            pump = asyncio.create_task(self._pump(theirs, ours))
            async for message in ours:
                if message.type is WSMsgType.TEXT:
                    await theirs.send_str(message.data)
            pump.cancel()
        return ours

    async def _pump(self, theirs: aiohttp.ClientWebSocketResponse, ours: web.WebSocketResponse) -> None:
        async for message in theirs:
            if not self.mute and message.type is WSMsgType.TEXT:
                await ours.send_str(message.data)
        await ours.close()


@asynccontextmanager
async def proxy() -> AsyncIterator[Proxy]:
    """One that listens."""
    passing = Proxy()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", passing.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        passing.address = f"{host}:{port}"
        yield passing
    finally:
        await runner.cleanup()
