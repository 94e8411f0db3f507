"""The socket behind TLS: handed over as well, and as careful with who does not read."""

from __future__ import annotations

import pytest
from aiohttp import ClientSession, ClientTimeout

from certificates import own, trusting
from comfyui_exporter.config.web_config import load_web_config
from comfyui_exporter.push.access import Access
from comfyui_exporter.push.handler import build_push_app
from comfyui_exporter.push.hub import Hub
from comfyui_exporter.web.server import WebServer
from comfyui_exporter.web.web_config import WebConfig
from push.conftest import PATIENCE, Service, Speaker
from push.making import Counted, Questions, update


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A certificate and its key."""
    return own(tmp_path_factory.mktemp("tls"), "server")


@pytest.fixture
async def secured(pair, tmp_path):
    file = tmp_path / "web.yml"
    file.write_text(f"tls_server_config: {{cert_file: {pair.certificate}, key_file: {pair.key}}}")
    config = WebConfig(file, load_web_config)
    await config.reload()
    answers, counts = Questions(), Counted()
    hub = Hub(answers=answers, counts=counts, queue_size=3, leave=0.05)
    server = WebServer(build_push_app(hub, Access()), config)
    await server.listen("127.0.0.1", 0)
    async with ClientSession(timeout=ClientTimeout(total=PATIENCE)) as session:
        yield Service(None, hub, server._runner, session, answers, counts)
    await server.close()


@pytest.fixture
def trust(pair):
    return trusting(pair)


async def test_a_client_is_told_asks_and_leaves(secured, trust):
    for number in range(500):
        secured.hub.job(update(f"r{number}", "completed", error_message="x" * 2000))
    client = Speaker(await secured.session.ws_connect(secured.url().replace("ws:", "wss:"), ssl=trust))
    assert len(await client.runs()) == 500
    assert (await client.ask({"type": "get_queue_statistics"}))["data"] == {"running_jobs": 1}
    secured.hub.job(update("r1", "completed", error_message="new"))
    assert (await client.hear())["data"]["error_message"] == "new"
    await client.say("x" * 70_000)
    assert (await client.closed())[0] == 1009
    await secured.until(lambda: secured.hub.clients == 0)


async def test_a_client_that_does_not_read_is_closed(secured, trust):
    client = Speaker(await secured.session.ws_connect(secured.url().replace("ws:", "wss:"), ssl=trust))
    await client.snapshot()
    await secured.until(lambda: secured.hub.clients == 1)
    client.socket._reader._protocol.transport.pause_reading()
    ends = (update(f"r{number}", "completed", error_message="x" * 50_000) for number in range(1000))

    def gone():
        if secured.hub.clients:
            secured.hub.job(next(ends))
        return not secured.hub.clients

    await secured.until(gone)
