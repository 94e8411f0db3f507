"""`/api/v1/alerts` over a real socket, with push clients and a store."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import asynccontextmanager

import aiohttp
import pytest

from alerts.making import as_sent, message
from comfyui_exporter.alert_inbox import AlertInbox
from comfyui_exporter.alerts.book import FORGET_AFTER
from comfyui_exporter.config.model import Config
from comfyui_exporter.config.sections import Push, Store
from comfyui_exporter.config.servers import ServerConfig
from comfyui_exporter.monitor import Monitor
from comfyui_exporter.push_service import PushService
from comfyui_exporter.watch.clock import Clock
from comfyui_exporter.web.alerts import LARGEST_BODY
from comfyui_exporter.web.api import Api
from comfyui_exporter.web.guard import WriteGuard
from comfyui_exporter.web.server import WebServer, build_app

PATIENCE = 10.0

DOWN = as_sent()
SLOW = as_sent(alertname="ComfyUISlowGeneration", server="gpu1", severity="warning")
OURS = as_sent(alertname="ComfyUIExporterScrapeSlow", severity="warning")


class LateClock(Clock):
    """A clock that can be moved forward."""

    ahead = 0.0

    def now(self):
        return super().now() + self.ahead

    def wall(self, at):
        return at

    def stamp(self, unix):
        return unix


class Inbox:
    """What `run` puts together, of a ComfyUI that is not there."""

    def __init__(self, session, url, clock, inbox):
        self.session = session
        self.url = url
        self.clock = clock
        self.inbox = inbox

    async def post(self, body, status=200, **headers):
        data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        async with self.session.post(f"{self.url}/api/v1/alerts", data=data, headers=headers) as response:
            assert response.status == status, await response.text()
            return await response.json()

    async def list(self, query=""):
        async with self.session.get(f"{self.url}/api/v1/alerts{query}") as response:
            assert response.status == 200
            return (await response.json())["items"]

    async def names(self, query=""):
        return sorted(item["labels"]["alertname"] for item in await self.list(query))

    async def client(self, query=""):
        """A push client, and the alerts of its snapshot."""
        socket = await self.session.ws_connect(f"{self.url}/ws{query}")
        told = []
        while (heard := await hear(socket))["type"] != "snapshot_end":
            told.append(heard)
        return socket, [each["data"] for each in told if each["type"] == "alert"]


async def hear(socket):
    """The next message that is of no server: that one does not answer is told whenever it is noticed."""
    while (heard := json.loads((await socket.receive(PATIENCE)).data))["type"] == "server_update":
        pass
    return heard


async def hears_nothing(socket):
    await socket.send_str('{"type":"ping"}')
    return await hear(socket) == {"type": "pong"}


@asynccontextmanager
async def receiving(store="memory", **access):
    clock = LateClock()
    monitor = Monitor(
        Config(servers=(ServerConfig(name="gpu0", url="http://127.0.0.1:1"),), store=Store(url=store)), clock=clock
    )
    await monitor.open()
    service = PushService(monitor, Push(**access))
    app = build_app(monitor.metrics, "/metrics", lambda: monitor.ready)
    guard = WriteGuard()
    Api(
        monitor.board, monitor.history, monitor.register, monitor.kept, service.token_for, service.access, guard
    ).add_to(app)
    inbox = AlertInbox(monitor, service.hub, clock, look_every=0.01)
    await inbox.open()
    inbox.add_to(app, guard)
    app.router.add_get("/ws", service.handler.__call__)
    server = WebServer(app)
    try:
        host, port = await server.listen("127.0.0.1", 0)
        monitor.start()
        inbox.start()
        async with aiohttp.ClientSession() as session:
            yield Inbox(session, f"http://{host}:{port}", clock, inbox)
    finally:
        await inbox.close()
        await monitor.stop()
        await service.close()
        await server.close()


@pytest.fixture
async def inbox():
    async with receiving() as inbox:
        yield inbox


async def test_what_alertmanager_sends_is_listed_the_newest_first(inbox):
    later = SLOW | {"startsAt": "2026-01-01T12:00:01Z"}
    assert await inbox.post(message(DOWN, later)) == {"taken": 2, "unusable": 0}
    first, second = await inbox.list()
    assert first["labels"] == SLOW["labels"]
    assert second.pop("updatedAt")
    assert second == {
        "status": "firing",
        "labels": DOWN["labels"],
        "annotations": DOWN["annotations"],
        "startsAt": "2026-01-01T12:00:00+00:00",
        "endsAt": None,
        "fingerprint": "0011223344556677",
        "generatorURL": "http://prometheus:9090/graph?g0.expr=up",
    }


async def test_the_list_can_be_of_one_server(inbox):
    await inbox.post(message(DOWN, SLOW, OURS))
    assert await inbox.names("?server=gpu1") == ["ComfyUISlowGeneration"]
    assert await inbox.names("?server=gpu0&server=gpu1") == ["ComfyUIDown", "ComfyUISlowGeneration"]
    assert await inbox.names("?server=none") == []
    assert len(await inbox.names()) == 3


async def test_resolved_alerts_are_not_listed(inbox):
    await inbox.post(message(DOWN, SLOW))
    await inbox.post(message(as_sent("resolved")))
    assert await inbox.names() == ["ComfyUISlowGeneration"]


async def test_clients_are_told_once_that_it_fires_and_once_that_it_is_resolved(inbox):
    socket, known = await inbox.client()
    assert known == []
    for _ in range(2):
        await inbox.post(message(DOWN))
    told = await hear(socket)
    assert told["type"] == "alert"
    assert told["data"]["status"] == "firing"
    assert told["data"]["labels"] == DOWN["labels"]
    assert await hears_nothing(socket)
    for _ in range(2):
        await inbox.post(message(as_sent("resolved")))
    assert (await hear(socket))["data"]["status"] == "resolved"
    assert await hears_nothing(socket)


async def test_new_clients_are_told_what_fires(inbox):
    await inbox.post(message(DOWN, SLOW))
    await inbox.post(message(as_sent("resolved")))
    _, known = await inbox.client()
    assert [alert["labels"]["alertname"] for alert in known] == ["ComfyUISlowGeneration"]


async def test_a_client_of_one_server_is_told_its_alerts_and_one_of_a_job_none(inbox):
    await inbox.post(message(DOWN, SLOW, OURS))
    _, of_server = await inbox.client("?server=gpu0")
    assert [alert["labels"]["alertname"] for alert in of_server] == ["ComfyUIDown"]
    for query in ("?job_id=1", "?prompt_id=p", "?batch_id=b", "?status=failed"):
        assert (await inbox.client(query))[1] == []


async def test_what_is_not_repeated_is_told_as_resolved(inbox):
    await inbox.post(message(DOWN))
    socket, known = await inbox.client()
    assert len(known) == 1
    inbox.clock.ahead = FORGET_AFTER
    over = (await hear(socket))["data"]
    assert (over["status"], over["endsAt"]) == ("resolved", None)
    assert await inbox.list() == []


async def test_the_watchdog_is_not_shown(inbox):
    assert await inbox.post(message(as_sent(alertname="Watchdog"))) == {"taken": 0, "unusable": 0}
    assert await inbox.list() == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_json"),
        (b"{", 400, "bad_json"),
        (b"[]", 400, "bad_request"),
        (b"{}", 400, "bad_request"),
        (b"[" * 100_000, 400, "bad_json"),
        (b'{"alerts": [' + b"[" * 500 + b"]" * 500 + b"]}", 400, "bad_request"),
        (b'{"alerts": [{"status": "firing", "labels": {}}]}', 400, "bad_request"),
        (b'{"alerts": [], "version": "3"}', 400, "bad_request"),
        (b" " * (LARGEST_BODY + 1), 413, "too_large"),
    ],
)
async def test_other_bodies_are_refused(inbox, body, status, code):
    assert (await inbox.post(body, status))["error"]["code"] == code
    assert await inbox.list() == []


async def test_an_alert_that_cannot_be_used_keeps_nothing_from_the_others(inbox, caplog):
    assert await inbox.post(message({"status": "firing"}, DOWN)) == {"taken": 1, "unusable": 1}
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "alerts of a notification are not usable"
    ]


async def test_who_may_not_write_may_not_send_alerts(inbox):
    await inbox.post(message(DOWN), 403, Origin="https://evil.example")
    await inbox.post(message(DOWN), 403, **{"X-Forwarded-For": "203.0.113.9"})
    assert await inbox.list() == []


async def test_a_token_for_one_job_opens_no_alerts(tmp_path):
    file = tmp_path / "token"
    file.write_text("secret\n")
    async with receiving(token_file=file) as inbox:
        await inbox.post(message(DOWN))
        async with inbox.session.post(f"{inbox.url}/api/v1/jobs", json={"job_id": 1, "prompt_id": "p"}) as response:
            token = (await response.json())["push_token"]
        socket = await inbox.session.ws_connect(f"{inbox.url}/ws", headers={"Authorization": f"Bearer {token}"})
        kinds = []
        while "snapshot_end" not in kinds:
            kinds.append((await hear(socket))["type"])
        assert kinds == ["progress_update", "snapshot_end"]


async def test_alerts_outlive_a_restart_and_resolved_ones_do_not(tmp_path):
    store = f"sqlite:///{tmp_path / 'jobs.db'}"
    async with receiving(store) as inbox:
        await inbox.post(message(DOWN, SLOW))
        await inbox.post(message(as_sent("resolved")))
        (before,) = await inbox.list()
    async with receiving(store) as inbox:
        (after,) = await inbox.list()
        assert after == before
        _, known = await inbox.client()
        assert [alert["labels"] for alert in known] == [SLOW["labels"]]
        inbox.clock.ahead = FORGET_AFTER
        async with asyncio.timeout(PATIENCE):
            while await inbox.list():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    async with receiving(store) as inbox:
        assert await inbox.list() == []


async def test_without_a_store_alerts_end_with_the_process():
    async with receiving() as inbox:
        await inbox.post(message(DOWN))
    async with receiving() as inbox:
        assert await inbox.list() == []
