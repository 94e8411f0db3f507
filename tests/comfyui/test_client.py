"""The HTTP client against real servers: what it asks, what it makes of the answers, what it tells of them."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui.servers import PROMPT, Observed, answer_prompt, error_of, http_server, raw_server
from comfyui_exporter.comfyui.client import ComfyUIClient, askable
from comfyui_exporter.comfyui.connection import Access
from comfyui_exporter.comfyui.errors import ErrorKind
from comfyui_exporter.comfyui.submission import JobTypeRule, SubmissionReader
from comfyui_exporter.tracker.observations import Details, QueueItem


def knows_none(_identity):
    return False


def known_none(_prompt_id, _number):
    return 0


def answering(body, status=200, headers=None):
    async def answer(_):
        return web.Response(body=body, status=status, headers=headers)

    return answer


@pytest.fixture
def observed():
    return Observed()


# What it asks


@pytest.mark.parametrize("prefix", ["", "/", "/comfy", "/comfy/", "/a/b%2Fc"])
async def test_every_path_stands_behind_the_prefix_of_the_url(prefix):
    async with http_server(answering(b"{}")) as server, ComfyUIClient(server.url + prefix) as client:
        await error_of(client.queue_remaining())
        await error_of(client.queue(known_none))
        await client.history_page(3, knows_none)
        await client.history_page(3, knows_none, offset=7)
        await client.history_entry("x", knows_none)
        await error_of(client.jobs())
        await client.job_details("x")
        await error_of(client.system_stats())
    base = prefix.rstrip("/")
    assert server.paths == [
        f"{base}/prompt",
        f"{base}/queue",
        f"{base}/history?max_items=3",
        f"{base}/history?max_items=3&offset=7",
        f"{base}/history/x",
        f"{base}/api/jobs?status=in_progress,pending&sort_by=created_at&sort_order=asc",
        f"{base}/api/jobs/x",
        f"{base}/system_stats",
    ]


@pytest.mark.parametrize(
    ("prompt_id", "quoted"),
    [
        ("a/../b", "a%2F..%2Fb"),
        ("../../queue", "..%2F..%2Fqueue"),
        ("é", "%C3%A9"),
        ("%2F", "%252F"),
        ("?x=1#y", "%3Fx%3D1%23y"),
        ("a b\r\nX: y", "a%20b%0D%0AX%3A%20y"),
        ("0052cf93-2687-43bc-959c-48c3bd1a1ffe", "0052cf93-2687-43bc-959c-48c3bd1a1ffe"),
    ],
)
async def test_a_prompt_id_is_quoted(prompt_id, quoted):
    async with http_server(answering(b"{}")) as server, ComfyUIClient(f"{server.url}/p") as client:
        await client.history_entry(prompt_id, knows_none)
        await client.job_details(prompt_id)
    assert server.paths == [f"/p/history/{quoted}", f"/p/api/jobs/{quoted}"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=20).filter(askable), min_size=1, max_size=20))
def test_every_askable_prompt_id_arrives_as_it_is(prompt_ids):
    async def ask():
        arrived = []

        async def note(request):
            arrived.append(request.match_info["prompt_id"])
            return web.Response(body=b"{}")

        app = web.Application()
        app.router.add_get("/history/{prompt_id}", note)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with ComfyUIClient(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
                for prompt_id in prompt_ids:
                    await client.history_entry(prompt_id, knows_none)
        finally:
            await runner.cleanup()
        return arrived

    assert asyncio.run(ask()) == prompt_ids


@pytest.mark.parametrize("prompt_id", ["", ".", "..", "x" * 501, "a\ufffdb", "{", "a}b"])
def test_some_prompt_ids_cannot_be_asked_for(prompt_id):
    assert not askable(prompt_id)


async def test_answers_are_asked_for_uncompressed_and_by_name():
    async with http_server() as server, ComfyUIClient(server.url) as client:
        await client.queue_remaining()
    assert server.headers[0]["Accept-Encoding"] == "identity"
    assert server.headers[0]["User-Agent"] == "comfyui-exporter"


async def test_no_cookie_is_kept():
    async with (
        http_server(answering(PROMPT, headers={"Set-Cookie": "a=b"})) as server,
        ComfyUIClient(server.url) as client,
    ):
        await client.queue_remaining()
        await client.queue_remaining()
    assert "Cookie" not in server.headers[1]


# What it makes of the answers


async def test_a_read_tells_what_it_cost(observed):
    async with http_server() as server, observed.client(server.url) as client:
        assert await client.queue_remaining() == 2
        assert client.last.received_bytes == len(PROMPT)
    assert observed.requests == [("/prompt", "ok")]
    assert observed.bytes == [len(PROMPT)]
    assert 0 < observed.seconds[0] < 5


async def test_a_queue_is_read_by_the_rules_and_its_problems_are_reported(observed):
    graph = {"1": {"class_type": "SaveVideo"}}
    body = json.dumps({"queue_running": [5], "queue_pending": [[1, "a", graph, {"job_id": 3}, []]]}).encode()
    rules = SubmissionReader([JobTypeRule("video", ("Save*",))])
    async with (
        http_server(answering(body)) as server,
        observed.client(server.url, submissions=rules) as client,
    ):
        queue = await client.queue(known_none)
    assert queue.pending == (QueueItem("a", 1.0, Details(job_id=3, job_type="video")),)
    assert observed.problems == [("/queue", "queue item: Expected `array`, got `int`")]
    assert observed.requests == [("/queue", "ok")]


async def test_problems_of_a_history_are_reported_under_its_route(observed):
    body = b'{"a": {"prompt": [1, "a"]}, "b": 5}'
    async with http_server(answering(body)) as server, observed.client(server.url) as client:
        await client.history_entry("secret-id", knows_none)
        await client.history_page(2, knows_none)
    assert [route for route, _ in observed.problems] == ["/history/{prompt_id}", "/history"]


async def test_a_server_without_api_jobs_is_no_error(observed):
    async with http_server(answering(b"", 404)) as server, observed.client(server.url) as client:
        assert await client.jobs() is None
    assert observed.requests == [("/api/jobs", "ok")]


async def test_an_error_of_api_jobs_is_one(observed):
    async with http_server(answering(b"", 500)) as server, observed.client(server.url) as client:
        assert (await error_of(client.jobs())).status == 500
    assert observed.requests == [("/api/jobs", "http")]


async def test_the_jobs_in_the_queue_are_read(observed):
    body = b'{"jobs": [{"id": "r", "status": "in_progress", "priority": 1}, {"id": "x"}]}'
    async with http_server(answering(body)) as server, observed.client(server.url) as client:
        payload = await client.jobs()
    assert payload is not None
    assert payload.running == (QueueItem("r", 1.0, None),)
    assert [route for route, _ in observed.problems] == ["/api/jobs"]


async def test_the_details_of_one_job_are_read(observed):
    body = b'{"workflow": {"extra_data": {"job_id": 7}}}'
    async with http_server(answering(body)) as server, observed.client(server.url) as client:
        assert await client.job_details("a") == Details(job_id=7)
    assert observed.requests == [("/api/jobs/{id}", "ok")]


async def test_no_route_has_an_id_in_it(observed):
    async with http_server(answering(b"no", 500)) as server, observed.client(server.url) as client:
        errors = [
            await error_of(client.history_entry("secret-id", knows_none)),
            await error_of(client.job_details("secret-id")),
        ]
    assert observed.requests == [("/history/{prompt_id}", "http"), ("/api/jobs/{id}", "http")]
    assert not [error for error in errors if "secret-id" in str(error)]


# Failures and their kinds


@pytest.mark.parametrize("status", [201, 204, 301, 302, 304, 400, 404, 429, 500, 502, 503])
async def test_every_status_but_200_is_an_http_error(observed, status):
    headers = {"Location": "/elsewhere"} if status in {301, 302} else None
    body = None if status in {204, 304} else PROMPT
    async with http_server(answering(body, status, headers)) as server, observed.client(server.url) as client:
        error = await error_of(client.queue_remaining())
    assert (error.kind, error.status, error.refused) == (ErrorKind.HTTP, status, False)
    assert observed.requests == [("/prompt", "http")]
    assert server.paths == ["/prompt"]  # no redirect is followed


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"exec_info": {"queue_remaining": -1}}'])
async def test_an_answer_that_is_none_is_a_payload_error(observed, body):
    async with http_server(answering(body)) as server, observed.client(server.url) as client:
        error = await error_of(client.queue_remaining())
    assert (error.kind, error.status) == (ErrorKind.PAYLOAD, None)
    assert observed.requests == [("/prompt", "payload")]
    assert observed.bytes == [len(body)]


async def test_the_timeout_is_for_each_request_and_the_next_one_is_not_held_up(observed):
    hanging = True
    done = asyncio.Event()

    async def answer(request):
        if hanging:
            await done.wait()
        return await answer_prompt(request)

    async with http_server(answer) as server, observed.client(server.url, request_timeout=0.05) as client:
        error = await error_of(client.queue_remaining())
        assert (error.kind, error.refused) == (ErrorKind.TIMEOUT, False)
        assert str(error) == "GET /prompt: no answer in 0.05 s"
        hanging = False
        assert await client.queue_remaining() == 2
        done.set()
    assert observed.requests == [("/prompt", "timeout"), ("/prompt", "ok")]
    assert 0.04 < observed.seconds[0] < 2


async def test_a_body_that_stops_is_a_timeout(observed):
    async with (
        raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", close=False) as url,
        observed.client(url, request_timeout=0.05) as client,
    ):
        assert (await error_of(client.queue_remaining())).kind is ErrorKind.TIMEOUT
    assert observed.bytes == [1]


async def test_where_nothing_listens_it_is_refused(observed):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        async with observed.client(f"http://127.0.0.1:{free.getsockname()[1]}") as client:
            error = await error_of(client.queue_remaining())
    assert (error.kind, error.refused) == (ErrorKind.CONNECTION, True)
    assert observed.requests == [("/prompt", "connection")]
    assert observed.bytes == [0]


async def test_a_name_that_does_not_exist_is_not_refused(observed):
    async with observed.client("http://nowhere.invalid") as client:
        error = await error_of(client.queue_remaining())
    assert (error.kind, error.refused) == (ErrorKind.CONNECTION, False)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Le",
    ],
)
async def test_an_answer_that_is_cut_off_is_a_connection_error(observed, answer):
    async with raw_server(answer, answer) as url, observed.client(url) as client:
        error = await error_of(client.queue_remaining())
    assert (error.kind, error.refused) == (ErrorKind.CONNECTION, False)
    assert observed.requests == [("/prompt", "connection")]


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x16\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_an_http_error(observed, answer):
    async with raw_server(answer) as url, observed.client(url) as client:
        error = await error_of(client.queue_remaining())
    assert error.kind is ErrorKind.HTTP
    assert len(str(error)) <= 300
    assert observed.requests == [("/prompt", "http")]


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda end: b"HTTP/1.1 200 OK\r\n" + end))
def test_whatever_bytes_come_only_a_read_error_escapes(answer):
    async def ask():
        async with raw_server(answer) as url, ComfyUIClient(url, request_timeout=1) as client:
            return await error_of(client.queue_remaining())

    assert asyncio.run(ask()).kind in ErrorKind


async def test_an_answer_announced_as_too_large_is_not_read(observed):
    async with (
        http_server(answering(b"x" * 5_000)) as server,
        observed.client(server.url, max_response_size=1_000) as client,
    ):
        error = await error_of(client.queue_remaining())
    assert error.kind is ErrorKind.PAYLOAD
    assert str(error) == "an answer of 5000 bytes is over the limit"
    assert observed.bytes == [0]
    assert observed.requests == [("/prompt", "payload")]


async def test_an_answer_that_becomes_too_large_is_cut_short(observed):
    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 1_000)

    async with http_server(endless) as server, observed.client(server.url, max_response_size=10_000) as client:
        error = await error_of(client.queue_remaining())
    assert (error.kind, str(error)) == (ErrorKind.PAYLOAD, "an answer is over the limit of 10000 bytes")
    assert 10_000 < observed.bytes[0] < 10_000_000


@pytest.mark.parametrize("read", [ComfyUIClient.queue_remaining, ComfyUIClient.system_stats])
async def test_what_is_always_small_has_a_limit_of_its_own(observed, read):
    async with http_server(answering(b"x" * 2_000_000)) as server, observed.client(server.url) as client:
        error = await error_of(read(client))
    assert (error.kind, str(error)) == (ErrorKind.PAYLOAD, "an answer of 2000000 bytes is over the limit")


async def test_an_answer_of_exactly_the_limit_is_read(observed):
    async with http_server() as server, observed.client(server.url, max_response_size=len(PROMPT)) as client:
        assert await client.queue_remaining() == 2


async def test_a_compressed_answer_counts_as_large_as_it_becomes(observed):
    async def compressed(_):
        response = web.Response(body=b" " * 1_000_000)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async with http_server(compressed) as server, observed.client(server.url, max_response_size=10_000) as client:
        assert (await error_of(client.queue_remaining())).kind is ErrorKind.PAYLOAD


# Headers and secrets


class Secrets:
    """Headers that may change, and how often they were read."""

    def __init__(self, *tokens):
        self.tokens = list(tokens)
        self.reads = 0

    def __call__(self):
        self.reads += 1
        token = self.tokens[0]
        if len(self.tokens) > 1:
            self.tokens.pop(0)
        if isinstance(token, Exception):
            raise token
        return {"Authorization": token}


def guarded(token, status=401):
    async def answer(request):
        if request.headers.get("Authorization") != token:
            return web.Response(status=status)
        return await answer_prompt(request)

    return answer


async def test_headers_are_read_once_and_sent_with_every_request():
    secrets = Secrets("old", "new")
    async with http_server(guarded("old")) as server, ComfyUIClient(server.url, Access(secrets)) as client:
        assert secrets.reads == 0
        for _ in range(3):
            assert await client.queue_remaining() == 2
    assert secrets.reads == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_changed_secrets_are_read_again_after_a_refusal_and_tried_at_once(observed, status):
    secrets = Secrets("old", "new")
    async with (
        http_server(guarded("new", status)) as server,
        observed.client(server.url, access=Access(secrets)) as client,
    ):
        assert await client.queue_remaining() == 2
        assert await client.queue_remaining() == 2
    assert [headers["Authorization"] for headers in server.headers] == ["old", "new", "new"]
    assert secrets.reads == 2
    assert observed.requests == [("/prompt", "ok")] * 2
    assert observed.reconnects == 0


async def test_unchanged_secrets_are_not_tried_again(observed):
    secrets = Secrets("wrong")
    async with http_server(guarded("right")) as server, observed.client(server.url, access=Access(secrets)) as client:
        error = await error_of(client.queue_remaining())
        assert (error.kind, error.status) == (ErrorKind.HTTP, 401)
        await error_of(client.queue_remaining())
    assert len(server.paths) == 2
    assert secrets.reads == 3
    assert observed.requests == [("/prompt", "http")] * 2


async def test_a_refusal_costs_no_connection(observed):
    async with (
        http_server(guarded("right", 403)) as server,
        observed.client(server.url, access=Access(Secrets("wrong"))) as client,
    ):
        for _ in range(3):
            await error_of(client.queue_remaining())
    assert server.made == 1
    assert observed.reconnects == 0


async def test_a_refusal_of_one_read_leaves_the_event_stream_open():
    async def answer(request):
        if request.path != "/ws":
            return web.Response(status=403)
        response = web.WebSocketResponse()
        await response.prepare(request)
        async for message in response:
            await response.send_str(message.data)
        return response

    async with http_server(answer) as server, ComfyUIClient(server.url) as client, client.socket("id", 10) as stream:
        await error_of(client.queue_remaining())
        await stream.send_str("still there?")
        assert (await stream.receive_str(timeout=5)) == "still there?"


@pytest.mark.parametrize("error", [OSError(2, "No such file"), ValueError("the file is empty")])
async def test_secrets_that_cannot_be_read_are_a_connection_error_and_are_tried_again(observed, error):
    secrets = Secrets(error, "right")
    async with http_server(guarded("right")) as server, observed.client(server.url, access=Access(secrets)) as client:
        assert (await error_of(client.queue_remaining())).kind is ErrorKind.CONNECTION
        assert await client.queue_remaining() == 2
    assert observed.requests == [("/prompt", "connection"), ("/prompt", "ok")]


async def test_secrets_that_cannot_be_read_after_a_refusal_are_tried_again(observed):
    secrets = Secrets("old", OSError(2, "No such file"), "new")
    async with http_server(guarded("new")) as server, observed.client(server.url, access=Access(secrets)) as client:
        assert (await error_of(client.queue_remaining())).kind is ErrorKind.CONNECTION
        assert await client.queue_remaining() == 2


async def test_tls_that_cannot_be_set_up_is_a_connection_error():
    def tls():
        raise OSError(2, "No such file")

    async with ComfyUIClient("http://127.0.0.1:1", Access(tls=tls)) as client:
        error = await error_of(client.queue_remaining())
    assert (error.kind, error.refused) == (ErrorKind.CONNECTION, False)


async def test_reads_that_begin_together_share_one_session():
    secrets = Secrets("right")
    async with http_server(guarded("right")) as server, ComfyUIClient(server.url, Access(secrets)) as client:
        assert await asyncio.gather(*(client.queue_remaining() for _ in range(3))) == [2, 2, 2]
    assert secrets.reads == 1


# Connections


async def test_reads_share_one_connection_and_it_is_no_reconnect(observed):
    async with http_server() as server, observed.client(server.url) as client:
        for _ in range(3):
            await client.queue_remaining()
    assert server.made == 1
    assert observed.reconnects == 0


async def test_a_kept_connection_that_the_other_side_closed_is_a_reconnect(observed):
    async with http_server() as server, observed.client(server.url) as client:
        await client.queue_remaining()
        for transport in server.connections:
            transport.close()
        assert await client.queue_remaining() == 2
        assert observed.reconnects == 1
        assert await client.queue_remaining() == 2
    assert observed.reconnects == 1
    assert server.made == 2


@pytest.mark.parametrize("announced", ["close", "Close"])
async def test_a_connection_whose_end_was_announced_is_no_reconnect(observed, announced):
    async with (
        http_server(answering(PROMPT, headers={"Connection": announced})) as server,
        observed.client(server.url) as client,
    ):
        for _ in range(3):
            await client.queue_remaining()
    assert server.made == 3
    assert observed.reconnects == 0


async def test_an_http_1_0_server_that_keeps_no_connection_is_no_reconnect(observed):
    answer = b"HTTP/1.0 200 OK\r\nContent-Length: 37\r\n\r\n" + PROMPT
    async with raw_server(answer, answer, answer) as url, observed.client(url) as client:
        for _ in range(3):
            assert await client.queue_remaining() == 2
    assert observed.reconnects == 0


async def test_a_timeout_breaks_the_connection_and_the_next_one_is_a_reconnect(observed):
    done = asyncio.Event()
    hanging = False

    async def answer(request):
        if hanging:
            await done.wait()
        return await answer_prompt(request)

    async with http_server(answer) as server, observed.client(server.url, request_timeout=0.05) as client:
        await client.queue_remaining()
        hanging = True
        await error_of(client.queue_remaining())
        hanging = False
        await client.queue_remaining()
        done.set()
    assert observed.reconnects == 1


async def test_close_closes_every_connection_and_may_be_called_twice():
    ended = asyncio.Event()

    async def answer(request):
        response = web.WebSocketResponse()
        await response.prepare(request)
        async for _ in response:
            pass
        ended.set()
        return response

    async with http_server(answer) as server:
        client = ComfyUIClient(server.url)
        async with client.socket("id", 10):
            await client.close()
            await client.close()
        async with asyncio.timeout(5):
            await ended.wait()


async def test_close_closes_the_connection_that_reads_keep():
    ended = asyncio.Event()

    async def talk(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 37\r\n\r\n" + PROMPT)
        assert await reader.read() == b""
        writer.close()
        ended.set()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        client = ComfyUIClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert await client.queue_remaining() == 2
        assert not ended.is_set()
        await client.close()
        async with asyncio.timeout(5):
            await ended.wait()


async def test_a_client_that_was_never_used_closes():
    await ComfyUIClient("http://127.0.0.1:1").close()


# The event stream


async def test_the_socket_is_opened_under_its_quoted_id_with_the_headers(observed):
    async def answer(request):
        response = web.WebSocketResponse()
        await response.prepare(request)
        await response.send_str("hello")
        await response.close()
        return response

    async with (
        http_server(answer) as server,
        observed.client(f"{server.url}/p", access=Access(Secrets("token"))) as client,
        client.socket("a b&c", 10) as stream,
    ):
        assert await stream.receive_str(timeout=5) == "hello"
    assert server.paths == ["/p/ws?clientId=a%20b%26c"]
    assert server.headers[0]["Authorization"] == "token"
    assert "Sec-WebSocket-Extensions" not in server.headers[0]
    assert observed.requests == [("/ws", "ok")]
    assert observed.reconnects == 0


async def _opens(client):
    async with client.socket("id", 10):
        pass


@pytest.mark.parametrize("status", [200, 400, 401, 404, 500])
async def test_a_socket_that_is_not_granted_is_an_http_error(observed, status):
    async with http_server(answering(b"no", status)) as server, observed.client(server.url) as client:
        assert (await error_of(_opens(client))).kind is ErrorKind.HTTP
    assert observed.requests == [("/ws", "http")]


async def test_a_socket_is_refused_where_nothing_listens(observed):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        async with observed.client(f"http://127.0.0.1:{free.getsockname()[1]}") as client:
            error = await error_of(_opens(client))
    assert (error.kind, error.refused) == (ErrorKind.CONNECTION, True)
    assert observed.requests == [("/ws", "connection")]


async def test_a_socket_that_is_not_answered_in_time_is_a_timeout(observed):
    async with raw_server(close=False) as url, observed.client(url, request_timeout=0.05) as client:
        assert (await error_of(_opens(client))).kind is ErrorKind.TIMEOUT
    assert observed.requests == [("/ws", "timeout")]


async def test_a_socket_follows_no_redirect_with_its_secrets(observed):
    access = Access(lambda: {"X-Api-Key": "secret"})
    async with http_server() as elsewhere:
        redirect = answering(b"", 302, {"Location": f"{elsewhere.url}/ws"})
        async with http_server(redirect) as server, observed.client(server.url, access=access) as client:
            assert (await error_of(_opens(client))).kind is ErrorKind.HTTP
    assert elsewhere.paths == []
    assert observed.requests == [("/ws", "http")]


async def test_new_secrets_found_by_a_read_are_those_of_the_next_socket():
    async def answer(request):
        if request.headers["Authorization"] != "new":
            return web.Response(status=401)
        if request.path != "/ws":
            return await answer_prompt(request)
        response = web.WebSocketResponse()
        await response.prepare(request)
        return response

    async with http_server(answer) as server, ComfyUIClient(server.url, Access(Secrets("old", "new"))) as client:
        assert (await error_of(_opens(client))).kind is ErrorKind.HTTP
        await client.queue_remaining()
        await _opens(client)
    assert [headers["Authorization"] for headers in server.headers] == ["old", "old", "new", "new"]
