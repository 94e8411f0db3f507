"""Who gets in, and how it is told if it does not."""

from __future__ import annotations

import asyncio

import pytest

from comfyui_exporter.push.access import Access
from comfyui_exporter.push.tokens import job_token
from push.conftest import Speaker
from push.making import update

HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
TOKEN = "geheim=="


class Fixed:
    def __init__(self, token=TOKEN):
        self.value = token

    async def token(self):
        return self.value


async def refused(service, path="/", **headers):
    async with service.session.get(service.http(path), headers={**HANDSHAKE, **headers}) as answer:
        body = await answer.json()
        assert body["error"]["message"]
        return answer.status, body["error"]["code"], answer.headers


async def test_the_answer_to_a_handshake_is_the_one_of_the_rfc(service):
    head, _, _writer = await service.raw()
    assert b"HTTP/1.1 101 " in head
    # The example of RFC 6455.
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    assert b"Extensions" not in head
    assert b"Protocol" not in head.split(b"\r\n", 1)[1]


async def test_what_came_behind_the_handshake_is_heard(service):
    question = b'{"type":"ping","id":"early"}'
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    lines = ["GET / HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in HANDSHAKE.items()), "", ""]
    writer.write("\r\n".join(lines).encode() + bytes([0x81, 0x80 | len(question)]) + b"\0\0\0\0" + question)
    assert await reader.readuntil(b'{"type":"pong","id":"early"}')
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("offered", [b"a\xff", b"comfyui-exporter, token.\xc3\xa4", b"a\tb"])
async def test_a_subprotocol_that_is_no_text_is_refused_and_the_socket_is_not_forgotten(service, offered):
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    lines = ["GET / HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in HANDSHAKE.items()), ""]
    writer.write("\r\n".join(lines).encode() + b"Sec-WebSocket-Protocol: " + offered + b"\r\n\r\n")
    # To its end: a socket that nobody attends to would stay for ever.
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()
    await writer.wait_closed()


async def test_a_browser_that_looks_is_told_what_this_is(service):
    async with service.session.get(service.http("/")) as answer:
        assert answer.status == 200
        assert "push service of comfyui-exporter" in await answer.text()
    async with service.session.get(service.http("/-/healthy")) as answer:
        assert answer.status == 200
    async with service.session.get(service.http("/ws")) as answer:
        assert answer.status == 426


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({"Sec-WebSocket-Key": "???"}, 400),
        ({"Sec-WebSocket-Key": ""}, 400),
    ],
)
async def test_a_handshake_that_is_none_is_refused(service, change, status):
    assert (await refused(service, **change))[0] == status


async def test_a_url_that_asks_for_what_there_is_not_is_refused(service):
    assert (await refused(service, "/?status=done"))[:2] == (400, "bad_request")


async def test_no_more_clients_than_allowed_get_in_until_one_leaves(serve):
    service = await serve(max_clients=1)
    client = await service.connect()
    status, code, headers = await refused(service)
    assert (status, code) == (503, "too_many_clients")
    assert int(headers["Retry-After"]) > 0
    await client.socket.close()
    await service.until(lambda: service.hub.clients == 0)
    await (await service.connect()).snapshot()


async def test_the_connection_is_not_aiohttps_any_more(service):
    clients = [await service.connect() for _ in range(5)]
    assert service.runner.server.connections == []
    assert service.hub.clients == 5
    for client in clients:
        await client.socket.close()
    await service.until(lambda: service.hub.clients == 0)


# Origins


@pytest.mark.parametrize(
    "origin", [None, "http://localhost:3000", "https://app.localhost", "http://127.0.0.1:9188", "http://[::1]"]
)
async def test_programs_and_pages_of_loopback_get_in(service, origin):
    headers = {} if origin is None else {"Origin": origin}
    await (await service.connect(headers=headers)).snapshot()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "file://"])
async def test_pages_of_elsewhere_do_not(service, origin):
    assert (await refused(service, Origin=origin))[:2] == (403, "forbidden")


async def test_pages_that_are_allowed_do(serve):
    service = await serve(Access(allowed_origins=["https://studio.example.org"]))
    await (await service.connect(headers={"Origin": "https://studio.example.org"})).snapshot()
    assert (await refused(service, Origin="http://studio.example.org"))[0] == 403


# Tokens


async def speaker(service, protocols=(), **options):
    return Speaker(await service.session.ws_connect(service.url(), protocols=protocols, **options))


async def test_without_the_token_nobody_gets_in(serve):
    service = await serve(Access(token=Fixed()))
    status, code, headers = await refused(service)
    assert (status, code) == (401, "unauthorized")
    assert headers["WWW-Authenticate"].startswith("Bearer")
    for wrong in ("geheim", "Geheim==", "", "job.x.y"):
        assert (await refused(service, Authorization=f"Bearer {wrong}"))[0] == 401
    assert (await refused(service, Authorization=f"Basic {TOKEN}"))[0] == 401
    assert (await refused(service, path=f"/?token={TOKEN}"))[0] == 401
    assert (await refused(service, **{"Sec-WebSocket-Protocol": "comfyui-exporter, token.wrong"}))[0] == 401


async def test_the_token_opens_as_a_header(serve):
    service = await serve(Access(token=Fixed()))
    await (await service.connect(headers={"Authorization": f"Bearer {TOKEN}"})).snapshot()
    client = await speaker(service, ["comfyui-exporter"], headers={"Authorization": f"bearer {TOKEN}"})
    assert client.socket.protocol == "comfyui-exporter"


@pytest.mark.parametrize(
    ("token", "offered", "chosen"),
    [
        ("simple", ["simple"], "simple"),
        ("simple", ["comfyui-exporter", "token.simple"], "comfyui-exporter"),
        ("simple", ["token.simple"], "token.simple"),
        (TOKEN, ["comfyui-exporter", "token.Z2VoZWltPT0"], "comfyui-exporter"),
        (TOKEN, ["token.Z2VoZWltPT0", "comfyui-exporter"], "comfyui-exporter"),
        ("schlüssel", ["comfyui-exporter", "token.c2NobMO8c3NlbA"], "comfyui-exporter"),
    ],
)
async def test_the_token_opens_as_a_subprotocol_and_one_that_was_offered_is_chosen(serve, token, offered, chosen):
    service = await serve(Access(token=Fixed(token)))
    client = await speaker(service, offered)
    assert client.socket.protocol == chosen
    await client.snapshot()


async def test_who_shows_a_token_where_none_is_asked_for_gets_in_and_its_browser_accepts(service):
    assert (await speaker(service, ["sometoken"])).socket.protocol == "sometoken"
    assert (await speaker(service, ["x", "comfyui-exporter"])).socket.protocol == "comfyui-exporter"


async def test_while_the_token_is_not_known_nobody_gets_in(serve):
    service = await serve(Access(token=Fixed(None)))
    assert (await refused(service, Authorization="Bearer x"))[:2] == (503, "unavailable")


async def test_a_token_for_one_job_shows_that_job_and_nothing_else(serve):
    service = await serve(Access(token=Fixed()))
    service.hub.job(update("a", job_id=1, comfyui_prompt_id="pa"))
    service.hub.job(update("b", job_id=2, comfyui_prompt_id="pb"))
    service.answers.jobs = {"1": {"job_id": 1}, "pa": {"job_id": 1}}
    client = await speaker(service, [job_token(TOKEN, "pa")])
    assert await client.runs() == ["a"]
    service.hub.job(update("b", job_id=2, comfyui_prompt_id="pb", percent=5.0))
    assert await client.nothing_waits()
    for question in (
        {"type": "get_queue_statistics"},
        {"type": "get_job_progress", "prompt_id": "pb"},
        {"type": "get_job_progress", "job_id": 2},
        {"type": "get_job_progress", "job_id": 1, "prompt_id": "pb"},
        {"type": "subscribe", "prompt_ids": ["pb"]},
    ):
        answer = await client.ask({**question, "id": 1})
        assert (answer["error"]["code"], answer["id"]) == ("forbidden", 1)
    assert (await client.ask({"type": "get_job_progress", "job_id": 1}))["data"] == {"job_id": 1}
    assert (await client.ask({"type": "get_job_progress", "prompt_id": "pa"}))["data"] == {"job_id": 1}
    assert service.answers.asked == [("1", "pa"), (None, "pa")]
    for subscription in ({"type": "unsubscribe"}, {"type": "subscribe", "prompt_ids": ["pb", "pa"]}):
        await client.say(subscription)
        assert (await client.hear())["type"] == "subscribed"
        assert await client.runs() == ["a"]
    await client.say({"type": "subscribe", "job_ids": [2]})
    await client.hear()
    assert await client.runs() == []


async def test_a_token_for_one_job_is_confined_by_the_url_too(serve):
    service = await serve(Access(token=Fixed()))
    service.hub.job(update("a", comfyui_prompt_id="pa"))
    service.hub.job(update("b", comfyui_prompt_id="pb"))
    headers = {"Authorization": f"Bearer {job_token(TOKEN, 'pa')}"}
    assert await (await service.connect("/?prompt_id=pb", headers=headers)).runs() == []
    assert await (await service.connect("/?prompt_id=pb&prompt_id=pa", headers=headers)).runs() == ["a"]


async def test_a_token_for_one_job_made_from_another_token_opens_nothing(serve):
    service = await serve(Access(token=Fixed()))
    assert (await refused(service, Authorization=f"Bearer {job_token('other', 'pa')}"))[0] == 401
