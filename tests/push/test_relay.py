"""A relay: the same news as its upstream's, through restarts and chains."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client.parser import text_string_to_metric_families

from comfyui_exporter.jobs.update import BatchUpdate, ServerUpdate
from comfyui_exporter.metrics import families
from comfyui_exporter.push import passed_on, upstream
from comfyui_exporter.push.access import Access
from comfyui_exporter.push.hub import Hub
from comfyui_exporter.push.mirror import Mirror
from comfyui_exporter.push.ports import Unavailable
from comfyui_exporter.push.tokens import job_token
from comfyui_exporter.relay import Relay, build_relay_app
from push.conftest import serving
from push.making import NOON, later, update

ALERT = {"status": "firing", "labels": {"alertname": "X"}}


class AtOnce:
    """No waiting between tries."""

    def failed(self):
        return 0.01

    def reset(self):
        pass


class Fixed:
    async def token(self):
        return "geheim"


async def no_headers():
    return {}


@pytest.fixture
async def relaying():
    """Start a relay: `await relaying(service)`."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(service, *, headers=no_headers, access=None, port=0, **options):
            relay = Relay(
                service if isinstance(service, str) else service.url(),
                headers=headers,
                queue_size=64,
                max_clients=100,
                waits=AtOnce(),
                **options,
            )
            relay.start()
            stack.push_async_callback(relay.stop)
            started = await serving(stack, build_relay_app(relay, access or Access()), relay.hub, port=port)
            started.relay = relay
            return started

        yield start


def value(relay, family):
    return relay.relay.metrics.get(family, None)


async def test_it_tells_what_its_upstream_tells_byte_for_byte(serve, relaying):
    service = await serve()
    service.hub.job(update("r1", "completed", job_id="a", comfyui_prompt_id="p1", labels={"x": "ü"}))
    service.hub.server(ServerUpdate("gpu0", up=True, running=1, pending=0, drain_seconds=None))
    service.hub.batch(BatchUpdate("b", 1, {}, 0.0))
    service.hub.alert(ALERT)
    relay = await relaying(service)
    direct, through = await service.connect(), await relay.connect()
    for _ in range(5):
        assert (await direct.socket.receive()).data == (await through.socket.receive()).data
    service.hub.job(update("r2", percent=1.0, job_id=2, batch_id="b", server="gpu0"))
    service.hub.alert({**ALERT, "status": "resolved"})
    service.hub.removed("r1")
    for _ in range(3):
        assert (await direct.socket.receive()).data == (await through.socket.receive()).data
    assert relay.hub.state.alerts == {}
    service.hub.server_removed("gpu0")
    service.hub.server_removed("never seen")
    service.hub.server(ServerUpdate("gpu1", up=None, running=None, pending=None, drain_seconds=None))
    for expected in ("server_removed", "server_update"):
        frame = (await direct.socket.receive()).data
        assert json.loads(frame)["type"] == expected
        assert (await through.socket.receive()).data == frame
    assert list(relay.hub.state.servers) == ["gpu1"]
    # Its clients subscribe to it as to the upstream.
    assert await (await relay.connect("/ws?job_id=2&server=gpu0&batch_id=b")).runs() == ["r2"]


async def test_clients_that_come_before_the_first_snapshot_wait_for_it(serve, relaying):
    service = await serve(held=True)
    service.hub.job(update("r1"))
    relay = await relaying(service)
    client = await relay.connect()
    assert await client.ask({"type": "ping"}) == {"type": "pong"}
    async with relay.session.get(relay.http("/-/ready")) as answer:
        assert answer.status == 503
    service.hub.release()
    assert await client.runs() == ["r1"]
    async with relay.session.get(relay.http("/-/ready")) as answer:
        assert answer.status == 200
    async with relay.session.get(relay.http("/-/healthy")) as answer:
        assert answer.status == 200


async def test_after_a_restart_of_the_upstream_only_what_differs_is_told(serve, relaying):
    service = await serve()
    same, changed, gone = update("same", percent=1.0, updated_at=NOON), update("changed"), update("gone", job_id=7)
    for job in (same, changed, gone):
        service.hub.job(job)
    for name in ("gpu0", "gpu1"):
        service.hub.server(ServerUpdate(name, up=True, running=0, pending=0, drain_seconds=None))
        service.hub.batch(BatchUpdate(name, 1, {}, 0.0))
        service.hub.alert({**ALERT, "labels": {"alertname": name}})
    relay = await relaying(service)
    client, of_gone = await relay.connect(), await relay.connect("/?job_id=7")
    await client.snapshot()
    await of_gone.snapshot()
    await service.stop()
    await relay.until(lambda: value(relay, families.RELAY_UPSTREAM_CONNECTED) == 0)
    # Meanwhile it serves what it had.
    assert sorted(await (await relay.connect()).runs()) == ["changed", "gone", "same"]

    service = await serve(port=service.port, held=True)
    await relay.until(lambda: value(relay, families.RELAY_UPSTREAM_CONNECTED) == 1)
    service.hub.job(later(same))
    service.hub.job(later(changed, progress_percent=5.0))
    service.hub.job(update("new"))
    service.hub.server(ServerUpdate("gpu0", up=True, running=0, pending=0, drain_seconds=None))
    service.hub.batch(BatchUpdate("gpu0", 1, {}, 0.0))
    service.hub.alert({**ALERT, "labels": {"alertname": "gpu0"}})
    assert await client.nothing_waits()
    service.hub.release()
    told = [await client.hear() for _ in range(3)]
    assert [each["data"].get("progress_percent") for each in told] == [5.0, 0.0, None]
    assert told[2] == {"type": "job_removed", "data": {"run_id": "gone"}}
    assert await of_gone.hear() == {"type": "job_removed", "data": {"run_id": "gone"}}
    over = {"status": "resolved", "labels": {"alertname": "gpu1"}}
    assert await client.hear() == {"type": "server_removed", "data": {"server": "gpu1"}}
    assert await client.hear() == {"type": "alert", "data": over}
    assert await client.nothing_waits()
    assert await of_gone.nothing_waits()
    state = relay.hub.state
    assert list(state.servers) == list(state.batches) == ["gpu0"]
    assert list(state.alerts) == [(("alertname", "gpu0"),)]
    assert value(relay, families.RELAY_UPSTREAM_RECONNECTS) == 1


async def test_a_connection_that_breaks_within_a_snapshot_removes_nothing(serve, relaying):
    service = await serve()
    service.hub.job(update("r1"))
    relay = await relaying(service)
    client = await relay.connect()
    await client.snapshot()
    for _ in range(3):
        await service.stop()
        await relay.until(lambda: value(relay, families.RELAY_UPSTREAM_CONNECTED) == 0)
        service = await serve(port=service.port, held=True)
        await relay.until(lambda: value(relay, families.RELAY_UPSTREAM_CONNECTED) == 1)
    assert await client.nothing_waits()
    service.hub.job(update("r1"))
    service.hub.release()
    service.hub.job(update("r2"))
    assert (await client.hear())["data"]["run_id"] == "r2"


async def test_relays_can_be_chained_and_the_middle_one_can_restart(serve, relaying):
    service = await serve()
    service.hub.job(update("r1"))
    middle = await relaying(service)
    last = await relaying(middle)
    client = await last.connect()
    assert await client.runs() == ["r1"]
    service.answers.jobs = {"1": {"nodes": []}}
    assert (await client.ask({"type": "get_job_progress", "job_id": 1}))["data"] == {"nodes": []}
    await middle.relay.stop()
    await middle.stop()
    await last.until(lambda: value(last, families.RELAY_UPSTREAM_CONNECTED) == 0)
    middle = await relaying(service, port=middle.port)
    service.hub.job(update("r1", percent=1.0))
    # Nothing of a job that is gone and there again.
    assert (await client.hear())["data"]["progress_percent"] == 1.0
    assert await client.nothing_waits()


async def test_several_relays_tell_the_same(serve, relaying):
    service = await serve()
    relays = [await relaying(service) for _ in range(3)]
    clients = [await relay.connect() for relay in relays]
    for client in clients:
        await client.snapshot()
    service.hub.job(update("r1", "completed"))
    assert {(await client.socket.receive()).data for client in clients} == {
        (await (await service.connect()).socket.receive()).data
    }


# Questions


async def test_questions_go_to_the_upstream_and_answers_to_those_who_asked(serve, relaying):
    service = await serve()
    service.answers.jobs = {"1": {"job_id": 1}, "2": {"job_id": 2}}
    relay = await relaying(service)
    one, two = await relay.connect(), await relay.connect()
    await one.snapshot()
    await two.snapshot()
    for client, job in ((one, 1), (two, 2)):
        await client.say({"type": "get_job_progress", "job_id": job, "id": "same"})
    assert await one.hear() == {"type": "job_progress", "data": {"job_id": 1}, "id": "same"}
    assert await two.hear() == {"type": "job_progress", "data": {"job_id": 2}, "id": "same"}
    assert (await one.ask({"type": "get_job_progress", "prompt_id": "x"}))["data"] is None
    assert (await one.ask({"type": "get_queue_statistics"}))["data"] == {"running_jobs": 1}


async def test_many_clients_may_ask_more_than_one_client_may(serve, relaying):
    service = await serve()
    relay = await relaying(service)
    clients = [await relay.connect() for _ in range(40)]
    for client in clients:
        await client.snapshot()
        for number in range(8):
            await client.say({"type": "get_job_progress", "job_id": 1, "id": number})
    for client in clients:
        assert [(await client.hear())["type"] for _ in range(8)] == ["job_progress"] * 8


async def test_what_the_upstream_cannot_answer_is_unavailable(serve, relaying):
    service = await serve()
    relay = await relaying(service)
    client = await relay.connect()
    await client.snapshot()
    service.answers.failure = Unavailable("not now")
    refused = (await client.ask({"type": "get_queue_statistics", "id": 1}))["error"]
    assert (refused["code"], "not now" in refused["message"]) == ("unavailable", True)
    service.answers.failure, service.answers.gate = None, asyncio.Event()
    await client.say({"type": "get_job_progress", "job_id": 1})
    await relay.until(lambda: service.answers.asked)
    await service.stop()
    assert (await client.hear())["error"]["code"] == "unavailable"
    assert (await client.ask({"type": "get_queue_statistics"}))["error"]["code"] == "unavailable"


async def test_an_upstream_that_does_not_answer_is_not_waited_for_for_ever():
    questions = passed_on.PassedOn(timeout=0.02)
    outgoing = questions.connected()
    with pytest.raises(Unavailable, match="in time"):
        await questions.queue_statistics()
    assert b"get_queue_statistics" in outgoing.get_nowait()
    # Too late.
    assert questions.take(b'{"type":"queue_statistics","data":{},"id":1}')
    assert questions._pending == {}


# Tokens


async def test_its_own_token_and_its_upstreams_are_two(serve, relaying):
    service = await serve(Access(token=Fixed()))
    service.hub.job(update("a", comfyui_prompt_id="pa"))
    service.hub.job(update("b", comfyui_prompt_id="pb"))

    async def headers():
        return {"Authorization": "Bearer geheim"}

    relay = await relaying(service, headers=headers, access=Access(token=Fixed()))
    client = await relay.connect(protocols=[job_token("geheim", "pa")])
    assert await client.runs() == ["a"]
    assert (await client.ask({"type": "get_queue_statistics"}))["error"]["code"] == "forbidden"
    async with relay.session.get(relay.http("/ws")) as answer:
        assert answer.status == 426


async def test_an_upstream_that_refuses_is_tried_again_and_logged_once(serve, relaying, caplog):
    service = await serve(Access(token=Fixed()))
    tries, token = [], ["wrong"]

    async def headers():
        tries.append(token[0])
        if token[0] == "unreadable":
            raise ValueError("the file is empty")
        return {"Authorization": f"Bearer {token[0]}"}

    relay = await relaying(service, headers=headers)
    await relay.until(lambda: len(tries) > 3)
    token[0] = "unreadable"
    await relay.until(lambda: tries[-1] == "unreadable")
    token[0] = "geheim"
    assert await (await relay.connect()).snapshot() == []
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 1
    assert "the upstream cannot be reached: 401" in told[0]


# Upstreams that are something else


class Strange:
    """Says what it is given to say to whoever connects."""

    def __init__(self, *messages):
        self.messages = messages
        self.connections = 0

    async def serve(self, request):
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        self.connections += 1
        for message in self.messages:
            await (socket.send_bytes(message) if isinstance(message, bytes) else socket.send_str(message))
        async for _ in socket:
            pass
        return socket


@pytest.fixture
async def strange():
    async with contextlib.AsyncExitStack() as stack:

        async def start(*messages):
            server = Strange(*messages)
            app = web.Application()
            app.router.add_get("/", server.serve)
            server.service = await serving(stack, app, None)
            return server

        yield start


async def test_messages_that_it_cannot_use_are_passed_over(strange, relaying, caplog):
    job = (
        '{"type":"progress_update","data":{"run_id":"r","comfyui_prompt_id":"p","status":"queued","more":[1]},"new":1}'
    )
    server = await strange(
        "{",
        "[]",
        "3",
        b"\x00",
        "[" * 10_000,
        '{"type":3}',
        '{"type":"progress_update"}',
        '{"type":"progress_update","data":{"run_id":1}}',
        '{"type":"progress_update","data":{"run_id":"x","comfyui_prompt_id":"p","status":"queued","job_id":{}}}',
        '{"type":"job_removed","data":null}',
        '{"type":"job_progress","data":{},"id":77}',
        '{"type":"error","error":null,"id":[]}',
        '{"type":"from_the_future","data":[]}',
        job,
        '{"type":"snapshot_end"}',
        '{"type":"snapshot_end"}',
    )
    relay = await relaying(server.service)
    client = await relay.connect()
    assert (await client.socket.receive()).data == job
    assert await client.hear() == {"type": "snapshot_end"}
    assert await client.nothing_waits()
    assert caplog.text.count("a message of the upstream is not usable") == 1
    assert server.connections == 1


async def test_a_message_without_bounds_breaks_the_connection_not_the_relay(strange, relaying, monkeypatch):
    monkeypatch.setattr(upstream, "LONGEST_MESSAGE", 1000)
    server = await strange("x" * 2000)
    relay = await relaying(server.service)
    await relay.until(lambda: server.connections > 2)
    async with relay.session.get(relay.http("/-/ready")) as answer:
        assert answer.status == 503


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nhello", b"nonsense\r\n"],
)
async def test_something_that_is_no_push_service_is_tried_again(relaying, answer):
    connections = 0

    async def other(reader, writer):
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    async with server:
        relay = await relaying(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await relay.until(lambda: connections > 2)
        assert value(relay, families.RELAY_UPSTREAM_CONNECTED) == 0


async def test_an_upstream_does_not_send_it_elsewhere(relaying):
    asked = []

    async def elsewhere(request):
        asked.append(request.path)
        raise web.HTTPFound("/ws") if request.path == "/" else web.HTTPNotFound

    app = web.Application()
    app.router.add_get("/{any:.*}", elsewhere)
    async with TestServer(app) as server:
        relay = await relaying(f"ws://127.0.0.1:{server.port}/")
        await relay.until(lambda: len(asked) > 2)
    assert set(asked) == {"/"}


async def test_an_upstream_that_stops_answering_pings_is_left(serve):
    service = await serve()
    hub = Hub(answers=passed_on.PassedOn())
    heard = []

    class Watching:
        def connected(self, again):
            heard.append(again)

        def disconnected(self):
            pass

        def complete(self):
            # From now on it is there, but as if its process were stopped.
            for client in service.hub._clients:
                client._transport.pause_reading()

    following = asyncio.create_task(
        upstream.Upstream(
            service.url(),
            mirror=Mirror(hub),
            questions=passed_on.PassedOn(),
            watcher=Watching(),
            headers=no_headers,
            waits=AtOnce(),
            heartbeat=0.1,
        ).run()
    )
    await service.until(lambda: len(heard) > 1)
    assert heard[:2] == [False, True]
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


# Metrics


async def test_it_serves_its_own_metrics(serve, relaying):
    service = await serve()
    service.hub.job(update())
    relay = await relaying(service)
    client = await relay.connect()
    await client.snapshot()
    async with relay.session.get(relay.http("/metrics")) as answer:
        parsed = {family.name: family for family in text_string_to_metric_families(await answer.text())}
    samples = {sample.name: sample.value for family in parsed.values() for sample in family.samples}
    assert samples["comfyui_exporter_push_clients"] == 1
    assert samples["comfyui_exporter_push_messages_total"] == 2
    assert samples["comfyui_exporter_push_dropped_total"] == 0
    assert samples["comfyui_exporter_relay_upstream_connected"] == 1
    assert samples["comfyui_exporter_relay_upstream_reconnects_total"] == 0
    assert samples["comfyui_exporter_build_info"] == 1
    assert samples["process_resident_memory_bytes"] > 0
    assert not any(name.startswith("comfyui_") and "exporter" not in name for name in samples)
    openmetrics = {"Accept": "application/openmetrics-text"}
    async with relay.session.get(relay.http("/metrics"), headers=openmetrics) as answer:
        assert (await answer.text()).endswith("# EOF\n")
