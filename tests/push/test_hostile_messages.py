"""Messages that nobody should send: refused, and the socket stays open."""

from __future__ import annotations

import json

import pytest

HOSTILE = [
    ("{", "bad_json"),
    ("", "bad_json"),
    ("nonsense", "bad_json"),
    ('{"type":"ping"} {}', "bad_json"),
    ("[" * 30_000, "bad_request"),
    ('{"type":"ping","deep":' + "[" * 30_000 + "]" * 30_000 + "}", "bad_json"),
    ('{"type":"ping","deep":' + '{"a":' * 10_000 + "1" + "}" * 10_000 + "}", "bad_json"),
    ("[]", "bad_request"),
    ("3", "bad_request"),
    ("null", "bad_request"),
    ('"ping"', "bad_request"),
    ("{}", "bad_request"),
    ('{"type":3}', "bad_request"),
    ('{"type":null}', "bad_request"),
    ('{"type":["ping"]}', "bad_request"),
    ('{"type":"PING"}', "unknown_type"),
    ('{"type":"' + "x" * 60_000 + '"}', "unknown_type"),
    ('{"type":"ping","id":{}}', "bad_request"),
    ('{"type":"ping","id":[1]}', "bad_request"),
    ('{"type":"ping","id":true}', "bad_request"),
    ('{"type":"ping","id":"' + "x" * 300 + '"}', "bad_request"),
    ('{"type":"ping","id":' + "9" * 5000 + "}", "bad_request"),
    ('{"type":"get_job_progress"}', "bad_request"),
    ('{"type":"get_job_progress","job_id":null}', "bad_request"),
    ('{"type":"get_job_progress","job_id":true}', "bad_request"),
    ('{"type":"get_job_progress","job_id":1.5}', "bad_request"),
    ('{"type":"get_job_progress","job_id":[1]}', "bad_request"),
    ('{"type":"get_job_progress","job_id":' + "9" * 5000 + "}", "bad_request"),
    ('{"type":"get_job_progress","job_id":"' + "x" * 1000 + '"}', "bad_request"),
    ('{"type":"get_job_progress","prompt_id":1}', "bad_request"),
    ('{"type":"subscribe","job_id":1}', "bad_request"),
    ('{"type":"subscribe","job_ids":1}', "bad_request"),
    ('{"type":"subscribe","job_ids":[{}]}', "bad_request"),
    ('{"type":"subscribe","job_ids":[null]}', "bad_request"),
    ('{"type":"subscribe","prompt_ids":[1]}', "bad_request"),
    ('{"type":"subscribe","statuses":["done"]}', "bad_request"),
    ('{"type":"subscribe","servers":"gpu0"}', "bad_request"),
    ('{"type":"subscribe","job_ids":[' + ",".join(["1"] * 1001) + "]}", "bad_request"),
    ('{"type":"get_queue_statistics","all":true}', "bad_request"),
    (b'{"type":"ping"}', "bad_request"),
    (b"\xff\x00", "bad_request"),
]


@pytest.mark.parametrize(("message", "code"), HOSTILE, ids=[repr(message)[:40] for message, _ in HOSTILE])
async def test_it_is_refused_and_the_socket_stays_open(service, message, code):
    client = await service.connect()
    await client.snapshot()
    refused = await client.ask(message)
    assert set(refused) == {"type", "error"}
    assert refused["type"] == "error"
    assert refused["error"]["code"] == code
    assert len(json.dumps(refused)) < 600
    assert await client.nothing_waits()


@pytest.mark.parametrize(
    "message", [{"type": "nothing"}, {"type": "get_job_progress"}, {"type": "subscribe", "statuses": ["done"]}]
)
async def test_a_refusal_repeats_the_id(service, message):
    client = await service.connect()
    await client.snapshot()
    assert (await client.ask({**message, "id": "abc"}))["id"] == "abc"


async def test_an_id_comes_back_as_it_was_written(service):
    client = await service.connect()
    await client.snapshot()
    for number in ("1e3", "12345678901234567890123456789", '"\\u00e9"'):
        await client.say(f'{{"type":"ping","id":{number}}}')
        assert (await client.socket.receive()).data == f'{{"type":"pong","id":{number}}}'


async def test_a_message_that_is_too_large_closes_its_socket_alone(service):
    client, other = await service.connect(), await service.connect()
    await other.snapshot()
    await client.say("x" * 70_000)
    assert (await client.closed())[0] == 1009
    assert await other.nothing_waits()


async def test_who_says_too_much_is_refused_and_then_closed(service):
    client = await service.connect()
    await client.snapshot()
    for _ in range(60):
        await client.say({"type": "ping"})
    heard = [await client.hear() for _ in range(60)]
    assert [each["type"] for each in heard[:50]] == ["pong"] * 50
    assert heard[-1]["error"]["code"] == "rate_limited"
    for _ in range(200):
        await client.say({"type": "ping"})
    assert await client.closed() == (1008, "too many messages")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x02hi", 1002),  # not masked
        (b"\xc1\x80\0\0\0\0", 1002),  # compressed, which was not agreed on
        (b"\x83\x80\0\0\0\0", 1002),  # a kind that there is not
        (b"\x80\x80\0\0\0\0", 1002),  # the rest of nothing
        (b"\x01\x80\0\0\0\0\x81\x80\0\0\0\0", 1002),  # a text within a text
        (b"\x09\x80\0\0\0\0", 1002),  # half a ping
        (b"\x89\xfe\0\xff\0\0\0\0", 1002),  # a ping of 255 bytes
        (b"\x88\x81\0\0\0\0\x03", 1002),  # half a close code
        (b"\x88\x82\0\0\0\0\x03\xed", 1002),  # a close code that stands for none
        (b"\x81\x82\0\0\0\0\xc3\x28", 1007),  # not UTF-8
        (b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 1009),
    ],
)
async def test_who_does_not_speak_websocket_is_told_so_and_closed(serve, frame, code):
    service = await serve(leave=0.05)
    other = await service.connect()
    _, reader, writer = await service.raw()
    writer.write(frame)
    received = await reader.readuntil(bytes([code >> 8, code & 255]))
    assert received[-4] == 0x88
    await service.until(lambda: service.hub.clients == 1)
    assert await other.snapshot() == []


async def test_thousands_of_tiny_frames_in_one_go_are_not_all_looked_at(serve):
    service = await serve(leave=0.05)
    _, reader, writer = await service.raw()
    writer.write(b"\x89\x80\0\0\0\0" * 20_000)
    answered = await reader.read()
    assert answered.count(b"\x8a\x00") == 50
    assert answered.endswith(b"too many messages")
