"""Clients that do not read, or not fast enough: closed, and nobody else notices."""

from __future__ import annotations

import asyncio
import json

from push.making import update

BIG = "x" * 20_000
"""Sockets hold some hundred kilobytes before they are full."""


def ends(start, count):
    return [update(f"e{number}", "completed", error_message=BIG) for number in range(start, start + count)]


async def fill(service, most=2000):
    """Tell of ends, each in a turn of its own, until nobody who does not read can take more."""
    slow = next(client for client in service.hub._clients if client.paused or client.wanted.servers is None)
    for number in range(most):
        service.hub.job(ends(number, 1)[0])
        await asyncio.sleep(0)
        if slow.paused:
            return number + 1
    raise AssertionError("the socket never was full")


def texts(data):
    """The messages in what was received raw."""
    found, at = [], 0
    while at < len(data):
        size, begin = data[at + 1], at + 2
        if size == 126:
            size, begin = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
        elif size == 127:
            size, begin = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
        found.append((data[at] & 15, data[begin : begin + size]))
        at = begin + size
    return found


async def test_a_client_that_does_not_read_is_closed_and_another_gets_everything_at_once(serve):
    service = await serve(queue_size=5, leave=0.05)
    _, reader, _writer = await service.raw()
    reader._transport.pause_reading()
    await service.until(lambda: service.hub.clients == 1)
    told = await fill(service)
    quick = await service.connect()
    await quick.hear_until("snapshot_end")
    for job in ends(told, 5):
        service.hub.job(job)
        assert (await quick.hear())["data"]["run_id"] == job.run_id
    assert service.hub.clients == 2
    service.hub.job(ends(told + 5, 1)[0])
    assert (await quick.hear())["data"]["run_id"] == f"e{told + 5}"
    # The sixth that waits is one too many.
    await service.until(lambda: service.hub.clients == 1)
    assert service.counts.lost >= 5
    assert await quick.nothing_waits()


async def test_who_reads_again_in_time_learns_why_it_was_closed(serve):
    service = await serve(queue_size=1, leave=30)
    _, reader, writer = await service.raw()
    reader._transport.pause_reading()
    await service.until(lambda: service.hub.clients == 1)
    told = await fill(service)
    for job in ends(told, 2):
        service.hub.job(job)
    await asyncio.sleep(0)
    reader._transport.resume_reading()
    received = b""
    while not received.endswith(b"too many final updates wait"):
        received += await reader.read(2**20)
    opcode, payload = texts(received)[-1]
    assert (opcode, int.from_bytes(payload[:2], "big")) == (8, 1013)
    writer.write(b"\x88\x80\0\0\0\0")
    assert await reader.read() == b""
    await service.until(lambda: service.hub.clients == 0)


async def test_who_falls_behind_gets_every_end_and_the_newest_of_the_rest(serve):
    service = await serve(queue_size=6)
    _, reader, _writer = await service.raw()
    reader._transport.pause_reading()
    await service.until(lambda: service.hub.clients == 1)
    told = await fill(service)
    lost = service.counts.lost
    for percent in range(1, 51):
        service.hub.job(update("open", percent=float(percent)))
        service.hub.job(update("ends", percent=float(percent)))
        await asyncio.sleep(0)
    for job in ends(told, 5):
        service.hub.job(job)
    service.hub.job(update("ends", "completed", 100.0))
    service.hub.job(update("open", percent=99.0))
    service.hub.removed("e0")
    reader._transport.resume_reading()
    received = b""
    while b"job_removed" not in received:
        received += await reader.read(2**20)
    messages = [json.loads(payload) for _, payload in texts(received)]
    runs = [each["data"]["run_id"] for each in messages if each["type"] == "progress_update"]
    assert runs == [
        *(f"e{number}" for number in range(told)),
        "open",
        *(f"e{n}" for n in range(told, told + 5)),
        "ends",
    ]
    assert [each["data"]["progress_percent"] for each in messages if each["type"] == "progress_update"][told] == 99.0
    assert messages[-1] == {"type": "job_removed", "data": {"run_id": "e0"}}
    # 49 of the one and 50 of the other in favour of a newer one, and 98.0 never was.
    assert service.counts.lost - lost == 100


async def test_a_snapshot_larger_than_any_buffer_counts_against_nobody(serve):
    service = await serve(queue_size=1)
    for job in ends(0, 500):
        service.hub.job(job)
    _, reader, _writer = await service.raw()
    reader._transport.pause_reading()
    await service.until(lambda: any(client.paused for client in service.hub._clients))
    service.hub.job(ends(500, 1)[0])
    await asyncio.sleep(0)
    reader._transport.resume_reading()
    received = b""
    while b"snapshot_end" not in received or b'"e500"' not in received:
        received += await reader.read(2**20)
    kinds = [json.loads(payload) for _, payload in texts(received)]
    assert [each["data"]["run_id"] for each in kinds[:500]] == [f"e{number}" for number in range(500)]
    assert kinds[500] == {"type": "snapshot_end"}
    assert kinds[501]["data"]["run_id"] == "e500"
    assert service.hub.clients == 1


async def test_who_asks_and_never_reads_holds_one_answer_not_many(serve):
    service = await serve(leave=0.05)
    service.answers.jobs = {"1": {"nodes": ["x" * 1000] * 5000}}
    _, reader, writer = await service.raw()
    reader._transport.pause_reading()
    question = b'{"type":"get_job_progress","job_id":1}'
    frame = bytes([0x81, 0x80 | len(question)]) + b"\0\0\0\0" + question
    writer.write(frame * 5)
    await service.until(lambda: any(client.paused for client in service.hub._clients))
    assert len(service.answers.asked) == 1
    reader._transport.resume_reading()
    received = b""
    while received.count(b'"job_progress"') < 5:
        received += await reader.read(2**20)
    assert len(service.answers.asked) == 5


async def test_who_keeps_talking_and_never_reads_is_closed(serve):
    service = await serve(leave=0.05)
    _, reader, _writer = await service.raw()
    reader._transport.pause_reading()
    await service.until(lambda: service.hub.clients == 1)
    await fill(service)
    slow = next(iter(service.hub._clients))
    for _ in range(300):
        slow.send(b"\x81\x02hi")
    await service.until(lambda: service.hub.clients == 0)


async def test_what_was_sent_and_what_never_will_be_is_counted(service):
    client = await service.connect()
    await client.snapshot()
    assert (service.counts.connected, service.counts.written) == (1, 1)
    service.hub.job(update(percent=1.0))
    service.hub.job(update(percent=2.0))
    await client.hear()
    assert (service.counts.written, service.counts.lost) == (2, 1)
    await client.socket.close()
    await service.until(lambda: service.counts.connected == 0)
