"""Servers for the client to talk to, in this process, on a free port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from comfyui_exporter.comfyui.client import ComfyUIClient
from comfyui_exporter.comfyui.errors import ReadError

PROMPT = b'{"exec_info": {"queue_remaining": 2}}'

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def answer_prompt(_: web.Request) -> web.StreamResponse:
    return web.Response(body=PROMPT, content_type="application/json")


@dataclass
class Asked:
    """A server and what it was asked: raw paths, headers, and how many connections were made."""

    url: str = ""
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.made = 0


@asynccontextmanager
async def http_server(handler: Handler = answer_prompt) -> AsyncIterator[Asked]:
    """An HTTP server that gives every request to one handler."""
    asked = Asked()

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.paths.append(request.raw_path)
        asked.headers.append(dict(request.headers))
        if request.transport not in asked.connections:
            asked.connections.add(request.transport)
            asked.made += 1
        return await handler(request)

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    asked.url = f"http://{host}:{port}"
    try:
        yield asked
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_server(*answers: bytes, close: bool = True) -> AsyncIterator[str]:
    """A server that writes the next of these bytes for each connection and then closes it, or holds still."""
    waiting = list(answers)
    writers: list[asyncio.StreamWriter] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while await reader.readline() not in {b"", b"\r\n"}:
            pass
        if waiting:
            writer.write(waiting.pop(0))
            await writer.drain()
        if close:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()


class Observed:
    """What a client tells of its requests."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.bytes: list[int] = []
        self.seconds: list[float] = []
        self.problems: list[tuple[str, str]] = []
        self.reconnects = 0

    def client(self, url: str, **more: Any) -> ComfyUIClient:
        """A client that tells."""
        return ComfyUIClient(
            url,
            observe=self._observe,
            report_problem=lambda route, problem: self.problems.append((route, problem)),
            on_reconnect=self._reconnect,
            **more,
        )

    def _observe(self, route: str, result: str, seconds: float, received: int) -> None:
        self.requests.append((route, result))
        self.seconds.append(seconds)
        self.bytes.append(received)

    def _reconnect(self) -> None:
        self.reconnects += 1


async def error_of(reading: Awaitable[Any]) -> ReadError:
    """The error that a read ends with."""
    try:
        result = await reading
    except ReadError as error:
        return error
    raise AssertionError(f"it answered {result!r}")
