"""A stand-in for the PromptServer of a ComfyUI, and clients that listen to it over real WebSockets.

It has what an extension finds on `PromptServer.instance`, with ComfyUI's names and signatures: `loop`, `sockets`,
`send`, `send_json`, `send_bytes`, `send_sync`, `publish_loop` and the `/ws` handler. In 0.3.64 and 0.8.0 these are the
same, so one stand-in is both; what the versions say differs, and that is data. It runs no prompts: a test sends what
ComfyUI would.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from contextlib import suppress
from types import ModuleType

import aiohttp
from aiohttp import web

from simulator.bench import until


class PromptServer:
    """See the module."""

    instance: PromptServer

    def __init__(self, loop):
        PromptServer.instance = self
        self.loop = loop
        self.sockets = {}
        self.client_id = None
        self.last_node_id = None
        self.messages = asyncio.Queue()

    async def send(self, event, data, sid=None):
        if isinstance(data, bytes | bytearray):
            await self.send_bytes(event, data, sid)
        else:
            await self.send_json(event, data, sid)

    async def send_json(self, event, data, sid=None):
        for ws in self._receivers(sid):
            with suppress(aiohttp.ClientError, ConnectionError):
                await ws.send_json({"type": event, "data": data})

    async def send_bytes(self, event, data, sid=None):
        for ws in self._receivers(sid):
            with suppress(aiohttp.ClientError, ConnectionError):
                await ws.send_bytes(event.to_bytes(4) + data)

    def send_sync(self, event, data, sid=None):
        self.loop.call_soon_threadsafe(self.messages.put_nowait, (event, data, sid))

    async def publish_loop(self):
        while True:
            await self.send(*await self.messages.get())

    async def handle(self, request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        sid = request.query["clientId"]
        self.sockets[sid] = ws
        try:
            await self.send("status", {"status": {"exec_info": {"queue_remaining": 0}}, "sid": sid}, sid)
            if self.client_id == sid and self.last_node_id is not None:
                await self.send("executing", {"node": self.last_node_id}, sid)
            async for _ in ws:
                pass
        finally:
            self.sockets.pop(sid, None)
        return ws

    def _receivers(self, sid):
        if sid is None:
            return list(self.sockets.values())
        return [self.sockets[sid]] if sid in self.sockets else []


def as_module(instance_of):
    """The module `server` of a ComfyUI whose PromptServer is this class."""
    module = ModuleType("server")
    module.PromptServer = instance_of
    return module


class Client:
    """A socket that keeps what it hears: text frames as they came, binary ones as their length."""

    def __init__(self, ws):
        self.ws = ws
        self.frames = []

    async def hear_until(self, end):
        """Listen until this text was heard, and return what came before it since the connection was made."""
        while True:
            message = await self.ws.receive(timeout=10)
            assert message.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}, message
            if message.data == end:
                return self.frames
            self.frames.append(message.data if isinstance(message.data, str) else len(message.data))


class ComfyUI:
    """The stand-in behind a port, its publish loop running, and its clients."""

    def __init__(self):
        self.server = PromptServer(asyncio.get_running_loop())
        self._clients = {}
        self._ends = 0

    async def __aenter__(self):
        app = web.Application()
        app.router.add_get("/ws", self.server.handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._http = aiohttp.ClientSession(f"http://127.0.0.1:{self.port}")
        self._publishing = asyncio.create_task(self.server.publish_loop())
        return self

    async def __aexit__(self, *_):
        self._publishing.cancel()
        await asyncio.gather(self._publishing, return_exceptions=True)
        for client in self._clients.values():
            await client.ws.close()
        await self._http.close()
        for connection in self._runner.server.connections:
            # What a test froze does not answer a close.
            if connection.transport is not None:
                connection.transport.abort()
        await self._runner.cleanup()

    async def connect(self, client_id):
        ws = await self._http.ws_connect("/ws", params={"clientId": client_id})
        client = self._clients[client_id] = Client(ws)
        client.greeting = await ws.receive_json()
        return client

    async def freeze(self, client_id, *, buffer=8192):
        """A client that connects and never reads; the buffers of its connection are small."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await self.server.loop.sock_connect(sock, ("127.0.0.1", self.port))
        request = (
            f"GET /ws?clientId={client_id} HTTP/1.1\r\nHost: comfyui\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await self.server.loop.sock_sendall(sock, request.encode())
        await self.server.loop.sock_recv(sock, 1)
        ws = self.server.sockets[client_id]
        ws.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        return sock

    async def everything_heard(self):
        """All that each client heard so far, by client id."""
        await until(self.server.messages.empty)
        # Forwarded frames may be written in the next turns of the loop: let wrong ones come before the end.
        for _ in range(5):
            await asyncio.sleep(0)
        self._ends += 1
        end = {"end": self._ends}
        self.server.send_sync("status", end)
        text = json.dumps({"type": "status", "data": end})
        return {client_id: list(await client.hear_until(text)) for client_id, client in self._clients.items()}


def unload(name):
    """Forget a module that was loaded under this name."""
    sys.modules.pop(name, None)
