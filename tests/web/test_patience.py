"""Connections that do not go on are cut off."""

from __future__ import annotations

import asyncio
import socket
import zlib
from contextlib import asynccontextmanager, suppress

import aiohttp.http_parser
import pytest
from aiohttp import web

from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.web.body import read_object
from comfyui_exporter.web.connection import Patience
from comfyui_exporter.web.errors import ApiError
from comfyui_exporter.web.server import WebServer, build_app

LARGE = 64 * 1024 * 1024
"""Bytes, more than any socket holds."""


@asynccontextmanager
async def serving(patience):
    app = build_app(MetricStore(), "/metrics", lambda: True)
    over = asyncio.Event()
    """Set when an answer was taken, or not waited for any more."""

    async def large(_):
        asyncio.current_task().add_done_callback(lambda _: over.set())
        return web.Response(body=b"x" * LARGE)

    async def body(request):
        try:
            return web.json_response(await read_object(request, 100, 0.1))
        except ApiError as error:
            return web.Response(status=error.status)

    app.router.add_get("/large", large)
    app.router.add_post("/body", body)
    server = WebServer(app, None, patience)
    try:
        _, port = await server.listen("127.0.0.1", 0)
        yield port, over
    finally:
        await server.close()


@pytest.mark.parametrize("said", [b"", b"GET /metrics HTT", b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_first_request_that_does_not_come_is_not_waited_for(said):
    async with serving(Patience(first_request=0.1)) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("said", [b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_next_request_that_does_not_come_is_not_waited_for(said):
    async with serving(Patience(idle=0.1)) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in await reader.readuntil(b"healthy.\n")
        writer.write(said)
        assert await reader.read() == b""
        writer.close()


async def test_an_answer_that_is_not_taken_is_thrown_away():
    async with serving(Patience(answer=0.1)) as (port, over):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            await over.wait()
            # What the system held by then is all that comes.
            read = 0
            with suppress(ConnectionResetError):
                while data := await loop.sock_recv(client, 1 << 20):
                    read += len(data)
            assert read < LARGE


async def test_a_body_that_does_not_come_is_not_waited_for():
    async with serving(Patience()) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b'POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"a":')
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()


async def test_what_is_no_http_is_told_so_without_our_versions():
    async with serving(Patience()) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"NONSENSE\r\n\r\n")
        answer = await reader.read()
        assert b" 400 " in answer
        assert b"Server: comfyui-exporter\r\n" in answer
        assert b"aiohttp" not in answer
        writer.close()


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nHost: x\r\nAuthori zation: c2VjcmV0\r\n\r\n", b"GET /c2VjcmV0 \x01\r\n\r\n"]
)
async def test_what_is_no_http_is_not_repeated_in_the_answer(said):
    async with serving(Patience()) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert b" 400 " in head
        assert b"X-Content-Type-Options: nosniff\r\n" in head
        assert body == b"400: Bad Request\n"
        writer.close()


def bomb(megabytes):
    packing = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(packing.compress(bytes(2**20)) for _ in range(megabytes)), packing.flush()])


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity, gzip"])
async def test_a_compressed_body_is_refused_and_not_unpacked(encoding, monkeypatch):
    unpacked = []
    monkeypatch.setattr(aiohttp.http_parser, "DeflateBuffer", lambda *_, **__: unpacked.append(encoding))
    body = bomb(1)
    async with serving(Patience()) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /body HTTP/1.1\r\nHost: x\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        assert (await reader.readline()).startswith(b"HTTP/1.1 415")
        writer.close()
    assert unpacked == []
