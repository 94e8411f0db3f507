"""A push service on a real socket, and clients of it."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from aiohttp import ClientSession, ClientTimeout, WSMsgType, web

from comfyui_exporter.push.access import Access
from comfyui_exporter.push.handler import build_push_app
from comfyui_exporter.push.hub import Hub
from push.making import Counted, Questions

PATIENCE = 10.0
"""Seconds within which anything happens, on a slow machine too."""


class Speaker:
    """One client: what it hears, one message after the other."""

    def __init__(self, socket):
        self.socket = socket

    async def hear(self):
        """The next message."""
        message = await self.socket.receive(PATIENCE)
        assert message.type is WSMsgType.TEXT, message
        return json.loads(message.data)

    async def hear_until(self, kind):
        """All messages up to the first of that type, with it."""
        heard = []
        while not heard or heard[-1]["type"] != kind:
            heard.append(await self.hear())
        return heard

    async def snapshot(self):
        """The messages of a snapshot, without its end."""
        return (await self.hear_until("snapshot_end"))[:-1]

    async def runs(self):
        """The run ids of a snapshot's jobs."""
        return [each["data"]["run_id"] for each in await self.snapshot() if each["type"] == "progress_update"]

    async def say(self, message):
        if isinstance(message, bytes):
            await self.socket.send_bytes(message)
        else:
            await self.socket.send_str(message if isinstance(message, str) else json.dumps(message))

    async def ask(self, message):
        await self.say(message)
        return await self.hear()

    async def nothing_waits(self):
        """Whether all that was sent was heard: an answer would come after it."""
        return (await self.ask({"type": "ping", "id": "last"})) == {"type": "pong", "id": "last"}

    async def closed(self):
        """The code and the reason of the end, whatever comes before it."""
        while True:
            message = await self.socket.receive(PATIENCE)
            if message.type is WSMsgType.CLOSE:
                return message.data, message.extra
            if message.type in {WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR}:
                return self.socket.close_code, ""


class Service:
    """A hub that is served."""

    def __init__(self, stack, hub, runner, session, answers, counts):
        self._stack = stack
        self.hub = hub
        self.runner = runner
        self.session = session
        self.answers = answers
        self.counts = counts
        self.port = runner.addresses[0][1]

    def url(self, path="/"):
        return f"ws://127.0.0.1:{self.port}{path}"

    def http(self, path="/"):
        return f"http://127.0.0.1:{self.port}{path}"

    async def connect(self, path="/", **options):
        return Speaker(await self.session.ws_connect(self.url(path), **options))

    async def stop(self):
        """End it; its port is free then."""
        await self.runner.cleanup()

    async def until(self, condition):
        """Wait until something is so; there is no event for what a socket of the other side did."""
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110  see above
                await asyncio.sleep(0.005)

    async def raw(self, path="/", headers=""):
        """A client that reads and answers only what the test makes it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)
        self._stack.push_async_callback(_hang_up, writer)
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        return head, reader, writer


async def _hang_up(writer):
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def serving(stack, app, hub, answers=None, counts=None, port=0):
    """Serve an application until the stack is left."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    session = await stack.enter_async_context(ClientSession(timeout=ClientTimeout(total=PATIENCE)))
    return Service(stack, hub, runner, session, answers, counts)


@pytest.fixture
async def serve():
    """Start a service: `await serve(access=..., queue_size=...)`."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(access=None, *, port=0, **options):
            answers, counts = Questions(), Counted()
            hub = Hub(answers=answers, counts=counts, **options)
            return await serving(stack, build_push_app(hub, access or Access()), hub, answers, counts, port)

        yield start


@pytest.fixture
async def service(serve):
    return await serve()
