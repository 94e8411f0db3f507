"""Who opens connections and does not go on, asks without end or takes nothing: bounded, and in nobody else's way."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.web import tls
from comfyui_exporter.web.connection import MOST_HEAD, Patience
from comfyui_exporter.web.crowd import Crowd
from comfyui_exporter.web.server import WebServer, build_app
from comfyui_exporter.web.tls import Doors

LARGE = 8 * 1024 * 1024


@asynccontextmanager
async def serving(patience=None, **bounds):
    app = build_app(MetricStore(), "/metrics", lambda: True)

    async def large(_):
        return web.Response(body=b"x" * LARGE)

    app.router.add_get("/large", large)
    crowd = Crowd(**bounds)
    server = WebServer(app, None, patience or Patience(), crowd)
    try:
        _, port = await server.listen("127.0.0.1", 0)
        yield port, crowd
    finally:
        await server.close()


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  there is no event for what a socket of the other side did
            await asyncio.sleep(0.005)


async def scrape(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("said", [b"", b"GET /metrics HTTP/1.1\r\nX-Slow: "])
async def test_those_who_say_nothing_make_room_for_who_asks(said):
    async with serving(most=20) as (port, crowd):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        for _, writer in silent:
            writer.write(said)
        await until(lambda: len(crowd) == 20)
        await until(lambda: all(member.waits for member in crowd._members))
        assert (await scrape(port)).startswith(b"HTTP/1.1 200")
        # The one that came first had to go, and no other.
        with suppress(ConnectionResetError):
            assert await silent[0][0].read() == b""
        await until(lambda: len(crowd) == 19)
        for _, writer in silent:
            writer.transport.abort()
        await until(lambda: len(crowd) == 0)


async def test_too_many_connections_are_told_of_once_a_minute(caplog):
    now = 0.0
    crowd = Crowd(most=1, now=lambda: now)

    class Silent:
        waits = True
        ended = False

        def cut_off(self):
            self.ended = True

    members = [Silent() for _ in range(4)]
    for member in members:
        crowd.join(member)
    assert [member.ended for member in members] == [True, True, True, False]
    assert [record.message for record in caplog.records] == ["too many connections, those that ask nothing are cut off"]
    now = 60.0
    crowd.join(Silent())
    assert len(caplog.records) == 2


async def test_one_who_is_being_answered_is_not_cut_off_for_another():
    crowd = Crowd(most=1)
    cut = []

    class Member:
        def __init__(self, name, waits):
            self.name, self.waits = name, waits

        def cut_off(self):
            cut.append(self.name)

    crowd.join(Member("asks", waits=False))
    crowd.join(Member("new", waits=True))
    assert cut == ["new"]


async def test_of_too_many_tls_handshakes_the_longest_ends(monkeypatch):
    monkeypatch.setattr(tls, "MOST_HANDSHAKES", 3)
    aborted = []

    class Silent:
        def __init__(self, name):
            self.name = name

        def abort(self):
            aborted.append(self.name)

    async def never():
        await asyncio.Event().wait()

    doors = Doors(asyncio.Protocol, never, 10.0)
    for number in range(5):
        doors.let_in(None, Silent(number))
        await asyncio.sleep(0)
    await until(lambda: len(aborted) == 2)
    assert aborted == [0, 1]
    doors.close()
    await until(lambda: len(aborted) == 5)


async def test_a_head_without_end_is_cut_off():
    async with serving() as (port, crowd):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        with suppress(ConnectionError):
            for number in range(100):
                writer.write(b"X-%d: " % number + b"x" * 2_000 + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0)
            async with asyncio.timeout(10):
                assert await reader.read() == b""
        await until(lambda: len(crowd) == 0)
        writer.transport.abort()


async def test_a_large_body_after_its_head_is_no_head():
    async with serving() as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (MOST_HEAD * 4))
        for _ in range(4):
            writer.write(b"x" * MOST_HEAD)
            await writer.drain()
            await asyncio.sleep(0.01)
        assert (await reader.readline()).startswith(b"HTTP/1.1 405")
        writer.close()


async def test_a_byte_now_and_then_is_no_request():
    async with serving(Patience(first_request=0.2)) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        ended = asyncio.create_task(reader.read())
        async with asyncio.timeout(10):
            for byte in b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"x" * 1_000:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.01)
                if ended.done():
                    break
        with suppress(ConnectionResetError):
            assert await ended == b""
        writer.transport.abort()


@pytest.mark.parametrize("said", [b"", b"GET /met", b"GET /metrics HTTP/1.1\r\nHost: x\r\n"])
async def test_half_a_request_of_who_says_no_more_is_not_waited_for(said):
    async with serving() as (port, crowd):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        writer.write_eof()
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        await until(lambda: len(crowd) == 0)
        writer.close()


async def test_answers_that_nobody_takes_are_bounded_together():
    async with serving(Patience(answer=30), most_unsent=2 * LARGE) as (port, crowd):
        clients = []
        loop = asyncio.get_running_loop()
        for _ in range(2):
            client = socket.create_connection(("127.0.0.1", port))
            client.setblocking(False)
            await loop.sock_sendall(client, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            clients.append(client)
        await until(lambda: crowd._unsent == 2 * LARGE)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: 5" in answer
        for client in clients:
            client.close()
        await until(lambda: crowd._unsent == 0)
        writer.close()


@pytest.mark.parametrize(
    "said",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: nonsense\r\n\r\n",
        b"GET /\xed\xa0\x80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nExpect: \xff\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused_and_fills_no_log(said, caplog):
    caplog.set_level(logging.INFO)
    async with serving() as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        status = (await reader.readline()).split(b" ")[1]
        assert status in {b"400", b"404", b"405", b"417"}
        writer.close()
    assert caplog.records == []
