"""Calls over real sockets: what is sent, tried again, given up, and whom that delays."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import socket

import pytest
from aiohttp import web

from comfyui_exporter.webhooks.outbox import MemoryOutbox
from comfyui_exporter.webhooks.poster import Target
from webhooks.making import NOON, Names, Sending, delivery, receiving, serving, signed, until


def secret(text):
    async def give():
        return text

    return Target(give)


async def test_a_call_carries_body_and_id_and_is_made_once():
    async with receiving() as receiver, Sending() as sending:
        sending.outbox.add(delivery(1, f"{receiver.url}/?sig=a%2Fb%20c&x=1+2"))
        await sending.counted(delivered=1)
        ((headers, body),) = receiver.got
        assert json.loads(body)["data"] == {"run_id": "r1"}
        assert headers["Content-Type"] == "application/json"
        assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_1", str(int(NOON)))
        assert headers["User-Agent"].startswith("comfyui-exporter/")
        assert "webhook-signature" not in headers
        await until(lambda: not len(sending.outbox))


async def test_the_url_arrives_as_it_was_written():
    seen = []

    async def answer(request):
        seen.append(request.raw_path)
        return web.Response()

    async with serving(answer) as url, Sending() as sending:
        sending.outbox.add(delivery(1, f"{url}/a%2Fb/?sig=a%2Fb%20c&x=1+2"))
        await sending.counted(delivered=1)
    assert seen == ["/a%2Fb/?sig=a%2Fb%20c&x=1+2"]


@pytest.mark.parametrize(
    ("text", "key"), [("tea for two", b"tea for two"), (f"whsec_{base64.b64encode(b'k' * 24).decode()}", b"k" * 24)]
)
async def test_the_signature_is_that_of_standard_webhooks(text, key):
    async with receiving() as receiver, Sending({"h": secret(text)}) as sending:
        sending.outbox.add(delivery())
        sending.outbox.add(delivery(2, receiver.url))
        await until(lambda: sending.counts["delivered"] == 1)
        ((headers, body),) = receiver.got
        assert signed(key, headers, body)
        assert not signed(b"another", headers, body)
        assert not signed(key, headers, body + " ")


async def test_a_call_is_not_sent_unsigned_while_its_secret_cannot_be_read():
    async with receiving() as receiver, Sending({"h": secret(None)}) as sending:
        sending.outbox.add(delivery(1, receiver.url))
        await sending.counted(failed=1)
        assert receiver.got == []


async def test_after_a_failure_it_is_sent_again_under_the_same_id_with_a_new_timestamp():
    async with receiving(500, 200) as receiver, Sending({"h": secret("s")}) as sending:
        sending.outbox.add(delivery(1, receiver.url))
        await sending.counted(failed=1)
        sending.time.move(7)
        assert len(receiver.got) == 1
        sending.time.move(5)
        await sending.counted(failed=1, delivered=1)
        assert receiver.ids == ["msg_1", "msg_1"]
        assert receiver.got[0][1] == receiver.got[1][1]
        assert [int(headers["webhook-timestamp"]) - NOON for headers, _ in receiver.got] == [0, 12]
        assert all(signed(b"s", *each) for each in receiver.got)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 408, 413, 425, 429, 500, 503])
async def test_whatever_is_not_taken_is_tried_again(status):
    async with receiving(status, 202) as receiver, Sending() as sending:
        sending.outbox.add(delivery(1, receiver.url))
        await sending.counted(failed=1)
        sending.time.move(12)
        await sending.counted(failed=1, delivered=1)


async def test_a_receiver_that_is_gone_for_good_is_called_no_more():
    async with receiving(410) as receiver, Sending() as sending:
        sending.outbox.add(delivery(1, receiver.url))
        await sending.counted(dead=1)
        assert len(sending.outbox) == 0
        sending.time.move(100_000)
        assert len(receiver.got) == 1


async def test_a_redirect_is_not_followed():
    async with receiving() as elsewhere, receiving(302, headers={"Location": elsewhere.url}) as receiver:
        async with Sending() as sending:
            sending.outbox.add(delivery(1, receiver.url))
            await sending.counted(failed=1)
        assert elsewhere.got == []


async def test_after_a_day_of_failures_it_is_a_dead_letter():
    async with receiving(503) as receiver, Sending() as sending:
        sending.outbox.add(delivery(1, receiver.url))
        tries = 1
        await sending.counted(failed=1)
        while len(sending.outbox):
            sending.time.move(await sending.outbox.next_due(()) - sending.time.now)
            tries += 1
            await until(lambda expected=tries: sum(sending.counts.values()) == expected and not sending.sender._calls)
        assert sending.time.now == NOON + 86_400
        assert sending.counts == {"failed": tries - 1, "dead": 1}
        assert 10 <= tries <= 20
        assert len(receiver.got) == tries


@pytest.mark.parametrize(("asked", "seconds"), [("600", 600), ("999999", 10_800), ("1", 8), ("soon", 8)])
async def test_a_receiver_may_ask_for_more_patience_but_not_for_less(asked, seconds):
    async with receiving(503, headers={"Retry-After": asked}) as receiver, Sending() as sending:
        sending.outbox.add(delivery(1, receiver.url))
        await sending.counted(failed=1)
        await until(lambda: not sending.sender._calls)
        wait = await sending.outbox.next_due(()) - NOON
        assert wait == seconds if seconds > 12 else 8 <= wait <= 12


async def test_a_receiver_may_name_the_hour():
    headers = {"Retry-After": "Thu, 01 Jan 2026 13:00:00 GMT"}
    async with receiving(429, headers=headers) as receiver, Sending() as sending:
        sending.outbox.add(delivery(1, receiver.url))
        await until(lambda: sending.counts["failed"] == 1 and not sending.sender._calls)
        assert await sending.outbox.next_due(()) == NOON + 3600


async def test_a_receiver_that_answers_nothing_delays_no_other():
    gate = asyncio.Event()
    async with receiving(gate=gate) as slow, receiving() as quick, Sending() as sending:
        for number in range(40):
            sending.outbox.add(delivery(number, slow.url))
        await until(lambda: slow.got)
        for number in range(40, 60):
            sending.outbox.add(delivery(number, quick.url))
        await sending.counted(delivered=20)
        assert quick.ids == [f"msg_{number}" for number in range(40, 60)]
        assert len(slow.got) == 1
        gate.set()
        await sending.counted(delivered=60)
        assert slow.ids == [f"msg_{number}" for number in range(40)]


async def test_no_answer_in_time_is_a_failure():
    gate = asyncio.Event()
    async with receiving(gate=gate) as receiver, Sending(timeout=0.1) as sending:
        sending.outbox.add(delivery(1, receiver.url))
        await sending.counted(failed=1)
        gate.set()


async def test_an_endless_body_costs_nothing():
    sent = 0
    ended = asyncio.Event()

    async def answer(request):
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65_536)
                sent += 65_536
        finally:
            ended.set()

    async with serving(answer) as url, Sending() as sending:
        sending.outbox.add(delivery(1, f"{url}/"))
        await sending.counted(delivered=1)
        await asyncio.wait_for(ended.wait(), 10)
        assert sent < 16 << 20


async def test_what_no_http_server_would_say_is_a_failure():
    async def answer(_, writer):
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server, Sending() as sending:
        port = server.sockets[0].getsockname()[1]
        sending.outbox.add(delivery(1, f"http://127.0.0.1:{port}/"))
        sending.outbox.add(delivery(2, f"https://127.0.0.1:{port}/"))
        await sending.counted(failed=2)


async def test_the_log_tells_once_that_a_receiver_fails_and_once_that_it_is_back(caplog):
    caplog.set_level(logging.INFO, "comfyui_exporter.webhooks")
    async with receiving(500, 500, 200) as receiver, Sending() as sending:
        for number in (1, 2):
            sending.outbox.add(delivery(number, f"{receiver.url}/s3cret?token=s3cret"))
        await sending.counted(failed=2)
        await until(lambda: not sending.sender._calls)
        sending.time.move(12)
        await sending.counted(failed=2, delivered=2)
    assert [record.getMessage() for record in caplog.records] == [
        "a webhook receiver fails: status 500",
        "a webhook receiver takes calls again",
    ]
    shown = "".join(str(vars(record)) for record in caplog.records)
    assert receiver.url.rpartition("/")[0] in shown
    assert "s3cret" not in shown


async def test_a_receiver_that_is_not_there_is_named_with_the_reason(caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    names = Names()
    async with Sending(names=names) as sending:
        sending.outbox.add(delivery(1, f"http://127.0.0.1:{port}/"))
        await sending.counted(failed=1)
        sending.outbox.add(delivery(2, "https://nobody.example/x"))
        await sending.counted(failed=2)
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith("a webhook receiver fails: cannot connect: Connect")
    assert said[1] == "a webhook receiver fails: its host name is not found"


async def test_a_hook_that_is_configured_no_more_is_not_called():
    async with receiving() as receiver, Sending({}) as sending:
        sending.outbox.add(delivery(1, receiver.url))
        await sending.counted(refused=1)
        assert (receiver.got, len(sending.outbox)) == ([], 0)


class Failing(MemoryOutbox):
    """Raises as often as it was told to at the next calls of one method."""

    def __init__(self, **failures):
        super().__init__(lambda: None)
        self.failures = failures

    def fail(self, name):
        if self.failures.get(name):
            self.failures[name] -= 1
            raise ConnectionError("the database is away")

    async def due(self, *arguments):
        self.fail("due")
        return await super().due(*arguments)

    async def delivered(self, delivery_id):
        self.fail("delivered")
        await super().delivered(delivery_id)


async def test_a_result_that_cannot_be_noted_is_noted_later_and_nothing_is_sent_twice_meanwhile(caplog):
    async with receiving() as receiver, Sending(outbox=Failing(delivered=3)) as sending:
        sending.outbox.add(delivery(1, receiver.url))
        await until(lambda: sending.outbox.failures["delivered"] == 2)
        sending.outbox.add(delivery(2, receiver.url))
        while len(sending.outbox):
            sending.time.move(5)
            await asyncio.sleep(0)
        await sending.counted(delivered=2)
        assert receiver.ids == ["msg_1", "msg_2"]
    assert [record.getMessage() for record in caplog.records] == ["the store of webhook calls failed"]


async def test_an_outbox_that_cannot_be_read_is_read_later():
    async with receiving() as receiver, Sending(outbox=Failing(due=1)) as sending:
        await until(lambda: sending.outbox.failures["due"] == 0)
        sending.time.move(5)
        sending.outbox.add(delivery(1, receiver.url))
        await sending.counted(delivered=1)


async def test_what_was_under_way_when_it_was_stopped_is_sent_again_under_the_same_id():
    gate = asyncio.Event()
    async with receiving(gate=gate) as receiver:
        async with Sending() as first:
            first.outbox.add(delivery(1, receiver.url))
            await until(lambda: receiver.got)
        gate.set()
        async with Sending(outbox=first.outbox) as second:
            await second.counted(delivered=1)
        assert receiver.ids == ["msg_1", "msg_1"]
