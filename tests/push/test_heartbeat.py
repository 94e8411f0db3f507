"""Who is not there any more is found out; who is there stays."""

from __future__ import annotations

import asyncio

from push.making import update


async def test_a_half_open_client_is_cut_off_and_one_that_answers_is_not(serve):
    service = await serve(heartbeat=0.1)
    alive = await service.connect()
    await alive.snapshot()
    # It answers pings while it is read.
    heard = asyncio.create_task(alive.hear())
    _, reader, _ = await service.raw()
    received = await reader.read()
    assert received.count(b"\x89\x00") == 1
    service.hub.job(update())
    assert (await heard)["type"] == "progress_update"
    assert service.hub.clients == 1


async def test_whatever_a_client_says_shows_that_it_is_there(serve):
    service = await serve(heartbeat=0.1)
    _, reader, writer = await service.raw()
    for _ in range(4):
        await reader.readuntil(b"\x89\x00")
        # Not the pong: a message of its own.
        writer.write(b"\x81\x80\0\0\0\0")
    assert service.hub.clients == 1


async def test_a_client_that_connects_and_never_reads_is_gone_after_a_while(serve):
    service = await serve(heartbeat=0.05)
    _, reader, _writer = await service.raw()
    reader._transport.pause_reading()
    await service.until(lambda: service.hub.clients == 1)
    for number in range(200):
        service.hub.job(update(f"r{number}", error_message="x" * 20_000))
    await service.until(lambda: service.hub.clients == 0)


async def test_who_does_not_answer_a_close_is_cut_off(serve):
    service = await serve(leave=0.05)
    _, reader, writer = await service.raw()
    writer.write(b"\x81\x02hi")
    while await reader.read(1000):
        pass
    await service.until(lambda: service.hub.clients == 0)


async def test_at_the_end_everybody_is_told_that_the_service_goes_away(serve):
    service = await serve()
    client = await service.connect()
    await client.snapshot()
    _, _, _silent = await service.raw()
    await service.until(lambda: service.hub.clients == 2)
    await service.hub.close(grace=0.05)
    assert await client.closed() == (1001, "the service ends")
    await service.until(lambda: service.hub.clients == 0)
    async with service.session.get(service.http(), headers=HANDSHAKE) as answer:
        assert answer.status == 503


HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
