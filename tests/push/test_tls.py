"""The socket behind TLS: handed over as well, and as careful with who does not read."""

from __future__ import annotations

import ssl
import subprocess

import pytest
from aiohttp import ClientSession, ClientTimeout, web

from comfyui_exporter.push.access import Access
from comfyui_exporter.push.handler import build_push_app
from comfyui_exporter.push.hub import Hub
from push.conftest import PATIENCE, Service, Speaker
from push.making import Counted, Questions, update


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A certificate and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -subj /CN=test -nodes"
    where = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run([*command.split(), *where], check=True, capture_output=True)
    return certificate, key


@pytest.fixture
async def secured(pair):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*pair)
    answers, counts = Questions(), Counted()
    hub = Hub(answers=answers, counts=counts, queue_size=3, leave=0.05)
    runner = web.AppRunner(build_push_app(hub, Access()), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    async with ClientSession(timeout=ClientTimeout(total=PATIENCE)) as session:
        yield Service(None, hub, runner, session, answers, counts)
    await runner.cleanup()


@pytest.fixture
def trust(pair):
    return ssl.create_default_context(cafile=pair[0])


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
