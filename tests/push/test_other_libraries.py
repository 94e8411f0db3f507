"""Clients that are not aiohttp: the library `websockets`, which is strict about the protocol."""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from push.making import update


async def hear(socket):
    return json.loads(await asyncio.wait_for(socket.recv(), 10))


async def test_it_connects_asks_and_leaves(service):
    service.hub.job(update("r1", percent=1.0, error_message="ü" * 40_000))
    async with connect(service.url("/ws?prompt_id=p-r1"), max_size=None) as socket:
        assert socket.protocol.extensions == []
        assert (await hear(socket))["data"]["error_message"] == "ü" * 40_000
        assert await hear(socket) == {"type": "snapshot_end"}
        await socket.send('{"type":"ping"}')
        assert await hear(socket) == {"type": "pong"}
        # One message in three fragments.
        await socket.send(["{", '"type":"pi', 'ng"}'])
        assert await hear(socket) == {"type": "pong"}
        await (await socket.ping(b"payload"))
        service.hub.job(update("r1", percent=2.0))
        assert (await hear(socket))["data"]["progress_percent"] == 2.0
    assert socket.protocol.close_code == 1000
    await service.until(lambda: service.hub.clients == 0)


async def test_it_answers_our_pings(serve):
    service = await serve(heartbeat=0.05)
    async with connect(service.url()) as socket:
        assert await hear(socket) == {"type": "snapshot_end"}
        client = next(iter(service.hub._clients))
        first = client.pinged_at
        await service.until(lambda: client.pinged_at > first and client.heard_at > first)
        await service.until(lambda: client.pinged_at > first + 0.1)
        assert service.hub.clients == 1


async def test_it_understands_every_way_in_which_it_is_closed(serve):
    service = await serve()
    async with connect(service.url()) as socket:
        await hear(socket)
        await socket.send(b"x" * 70_000)
        with pytest.raises(ConnectionClosed) as caught:
            await hear(socket)
        assert caught.value.rcvd.code == 1009
    async with connect(service.url()) as socket:
        await hear(socket)
        await service.hub.close()
        with pytest.raises(ConnectionClosed) as caught:
            await hear(socket)
        assert caught.value.rcvd.code == 1001
        assert caught.value.rcvd.reason == "the service ends"
    with pytest.raises(InvalidStatus, match="503"):
        async with connect(service.url()):
            pass
