"""From a real Alertmanager through `comfyui-exporter run` and a relay to a push client."""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest

from alertmanager.configs import DEFAULT, integration, read
from alertmanager.programs import PATIENCE, firing, resolved

NOBODY = "http://127.0.0.1:1"
"""A ComfyUI that is not there."""


@asynccontextmanager
async def process(*arguments, listening):
    """A process of the program, and the addresses that it says it listens on, so many."""
    command = [sys.executable, "-m", "comfyui_exporter", *arguments]
    running = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    addresses, said, rest = [], "", None
    try:
        async with asyncio.timeout(PATIENCE):
            while len(addresses) < listening:
                line = (await running.stderr.readline()).decode()
                assert line, said
                said += line
                addresses += re.findall(r"msg=listening address=(\S+)", line)
        # What it says later is read too, or it would wait for that.
        rest = asyncio.create_task(running.stderr.read())
        yield addresses
    finally:
        running.terminate()
        await running.wait()
        if rest is not None:
            await rest


@asynccontextmanager
async def exporter(store):
    flags = (
        "--comfyui.url", f"gpu0={NOBODY}", "--web.listen-address", "127.0.0.1:0", "--push.listen-address",
        "127.0.0.1:0", "--store.url", store,
    )  # fmt: skip
    async with process("run", *flags, listening=2) as (web, push):
        yield f"http://{web}", f"ws://{push}"


class Client:
    """A push client, and what it knows of alerts."""

    def __init__(self, socket):
        self._socket = socket

    async def until(self, name, status):
        async with asyncio.timeout(PATIENCE):
            while True:
                message = await self._socket.receive_json()
                if message["type"] == "alert":
                    data = message["data"]
                    if (data["labels"]["alertname"], data["status"]) == (name, status):
                        return data


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


async def listed(session, url):
    async with session.get(f"{url}/api/v1/alerts") as response:
        return {item["labels"]["alertname"] for item in (await response.json())["items"]}


async def test_an_alert_reaches_the_clients_of_the_exporter_and_of_a_relay_and_so_does_its_end(
    start, session, tmp_path
):
    config = read(DEFAULT)
    async with AsyncExitStack() as stack:
        url, push = await stack.enter_async_context(exporter(f"sqlite:///{tmp_path / 'jobs.db'}"))
        relay = process("relay", "--upstream", push, "--push.listen-address", "127.0.0.1:0", listening=1)
        (through,) = await stack.enter_async_context(relay)
        integration(config, "exporter-inbox")["url"] = f"{url}/api/v1/alerts"
        alertmanager = await start(config)
        clients = [Client(await session.ws_connect(address)) for address in (push, f"ws://{through}")]
        alert = firing("ComfyUIQueueStuck", severity="critical", server="gpu0")
        watchdog = {"labels": {"alertname": "Watchdog", "severity": "info"}}
        await alertmanager.post(watchdog, alert)
        for client in clients:
            told = await client.until("ComfyUIQueueStuck", "firing")
            assert told["labels"] == alert["labels"]
            assert told["annotations"] == alert["annotations"]
            assert told["startsAt"].endswith("+00:00")
        await alertmanager.post(resolved(alert))
        for client in clients:
            assert (await client.until("ComfyUIQueueStuck", "resolved"))["endsAt"]
        assert "ComfyUIQueueStuck" not in await listed(session, url)


async def test_what_fires_is_known_after_a_restart_of_the_exporter(start, session, tmp_path):
    store, config = f"sqlite:///{tmp_path / 'jobs.db'}", read(DEFAULT)
    async with exporter(store) as (url, push):
        integration(config, "exporter-inbox")["url"] = f"{url}/api/v1/alerts"
        alertmanager = await start(config)
        client = Client(await session.ws_connect(push))
        await alertmanager.post(firing("ComfyUIQueueStuck", severity="critical", server="gpu0"))
        await client.until("ComfyUIQueueStuck", "firing")
    async with exporter(store) as (url, push):
        assert await listed(session, url) == {"ComfyUIQueueStuck"}
        await Client(await session.ws_connect(push)).until("ComfyUIQueueStuck", "firing")


async def test_what_goes_on_is_repeated_to_the_inbox(start, receiver):
    config = read(DEFAULT)
    integration(config, "exporter-inbox")["url"] = receiver.url
    alertmanager = await start(config, repeat_interval="300ms")
    await alertmanager.post(firing("ComfyUIQueueStuck", severity="critical", server="gpu0"))
    async with asyncio.timeout(PATIENCE):
        while len(receiver.calls) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert receiver.calls[0][2]["alerts"] == receiver.calls[1][2]["alerts"]
