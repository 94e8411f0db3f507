"""The ends that a request can come to besides an answer: it is given up, or the other side no longer cares."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time

import pytest

from comfyui.servers import Observed, answer_prompt, http_server


@pytest.fixture
def observed():
    return Observed()


async def _opens(client):
    async with client.socket("id", 10):
        pass


@pytest.mark.parametrize("ask", [lambda client: client.queue_remaining(), _opens])
async def test_a_request_that_is_given_up_is_not_counted_as_answered(observed, ask):
    asked, done = asyncio.Event(), asyncio.Event()

    async def hang(request):
        asked.set()
        await done.wait()
        return await answer_prompt(request)

    async with http_server(hang) as server, observed.client(server.url) as client:
        task = asyncio.create_task(ask(client))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        done.set()
    assert "ok" not in {result for _, result in observed.requests}


async def test_a_frozen_server_does_not_hold_up_the_end_of_its_socket(observed):
    """It neither answers the close frame nor ends the connection."""
    writers = []

    async def freeze_after_the_handshake(reader, writer):
        writers.append(writer)
        lines = [line async for line in _head(reader)]
        key = next(line.split()[1] for line in lines if line.lower().startswith(b"sec-websocket-key:"))
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    server = await asyncio.start_server(freeze_after_the_handshake, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    began = time.monotonic()
    async with observed.client(f"http://{host}:{port}", request_timeout=0.2) as client:
        await _opens(client)
    assert time.monotonic() - began < 2
    assert observed.requests == [("/ws", "ok")]
    for writer in writers:
        writer.close()
    server.close()
    await server.wait_closed()


async def _head(reader):
    while (line := await reader.readline()) not in {b"", b"\r\n"}:
        yield line
