"""Webhooks of an exporter that watches a simulated ComfyUI."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import asynccontextmanager
from random import Random

import aiohttp
import pytest

from comfyui_exporter.config.model import Config
from comfyui_exporter.config.sections import RegisteredWebhooks, Webhook
from comfyui_exporter.config.servers import ServerConfig
from comfyui_exporter.jobs.update import ProgressStatus
from comfyui_exporter.monitor import Monitor
from comfyui_exporter.push.access import Access
from comfyui_exporter.simulator import Simulation
from comfyui_exporter.simulator.workflows import image
from comfyui_exporter.web.api import Api
from comfyui_exporter.web.guard import WriteGuard
from comfyui_exporter.web.server import WebServer, build_app
from comfyui_exporter.webhooks.service import Webhooks
from webhooks.making import PATIENCE, receiving, signed, until


class Exporter:
    def __init__(self, monitor, session, url):
        self.monitor = monitor
        self.session = session
        self.url = url

    async def register(self, status=201, **body):
        async with self.session.post(f"{self.url}/api/v1/jobs", data=json.dumps(body)) as response:
            answer = await response.json()
            assert response.status == status, answer
            return answer

    async def counts(self):
        async with self.session.get(f"{self.url}/metrics") as response:
            lines = (await response.text()).splitlines()
        prefix = 'comfyui_exporter_webhooks_total{result="'
        found = [line.removeprefix(prefix).split('"} ') for line in lines if line.startswith(prefix)]
        return {result: int(count) for result, count in found}

    async def has_counted(self, result, number):
        async with asyncio.timeout(PATIENCE):
            while (await self.counts())[result] < number:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def no_token(_):
    return None


@asynccontextmanager
async def exporting(simulation, **config):
    """What `run` puts together for webhooks, on a free port."""
    servers = (ServerConfig(name="gpu0", url=simulation.url),)
    config = Config(poll_interval=0.1, servers=servers, **config)
    monitor = Monitor(config, rng=Random(1))
    webhooks = Webhooks(config, monitor.board, monitor.metrics)
    app = build_app(monitor.metrics, "/metrics", lambda: monitor.ready)
    check = webhooks.check if config.registered_webhooks else None
    Api(
        board=monitor.board,
        history=monitor.history,
        register=monitor.register,
        kept=monitor.kept,
        token_for=no_token,
        access=Access(),
        guard=WriteGuard(),
        check_webhook=check,
    ).add_to(app)
    server = WebServer(app)
    try:
        host, port = await server.listen("127.0.0.1", 0)
        webhooks.start()
        monitor.start()
        async with aiohttp.ClientSession() as session:
            await monitor.first_look()
            yield Exporter(monitor, session, f"http://{host}:{port}")
    finally:
        await webhooks.close()
        await monitor.stop()
        await server.close()


@pytest.fixture
async def simulation():
    async with Simulation(speed=300) as simulation:
        yield simulation


def submit(simulation, prompt_id, **extra):
    graph = image(Random(0)).graph
    graph["3"]["inputs"]["seed"] = len(simulation.ledger.runs)
    status, _ = simulation.comfy.submit({"prompt": graph, "prompt_id": prompt_id, "extra_data": extra})
    assert status == 200


LOCAL = RegisteredWebhooks(allowed_hosts=["127.0.0.1"], allow_private=True)


async def test_an_application_is_told_signed_and_once_how_each_job_ended(simulation, tmp_path):
    file = tmp_path / "secret"
    file.write_text("a secret\n")
    async with receiving() as receiver:
        hook = Webhook(url=receiver.url, secret_file=file)
        async with exporting(simulation, webhooks=(hook,)) as exporter:
            assert await exporter.counts() == {"dead": 0, "delivered": 0, "failed": 0, "refused": 0}
            simulation.executor.accidents["bad"] = "cuda_oom"
            for prompt_id in ("good", "bad"):
                submit(simulation, prompt_id, job_id=f"my-{prompt_id}")
            await until(lambda: len(receiver.got) == 2)
            told = {body["data"]["job_id"]: body["data"]["status"] for body in receiver.bodies}
            assert told == {"my-good": "completed", "my-bad": "failed"}
            assert [body["id"] for body in receiver.bodies] == receiver.ids
            assert all(signed(b"a secret", *each) for each in receiver.got)
            await exporter.has_counted("delivered", 2)


async def test_a_secret_that_changes_needs_no_restart(simulation, tmp_path):
    file = tmp_path / "secret"
    file.write_text("one\n")
    hook = Webhook(url="http://127.0.0.1:9", secret_file=file)
    monitor = Monitor(Config(webhooks=(hook,)))
    webhooks = Webhooks(Config(webhooks=(hook,)), monitor.board, monitor.metrics)
    (target,) = webhooks._poster._targets.values()
    assert await target.secret() == "one"
    target.secret.__self__._now = lambda: float("inf")
    file.write_text("another\n")
    assert await target.secret() == "another"
    await webhooks.close()


async def test_a_secret_that_cannot_be_read_is_said_and_nothing_is_sent(simulation, tmp_path, caplog):
    async with receiving() as receiver:
        (tmp_path / "secret").write_text("whsec_not-base64!\n")
        hook = Webhook(url=receiver.url, secret_file=tmp_path / "secret")
        async with exporting(simulation, webhooks=(hook,)) as exporter:
            submit(simulation, "p")
            await exporter.has_counted("failed", 1)
        assert receiver.got == []
    said = [record.getMessage() for record in caplog.records]
    assert "the secret of a webhook cannot be read: what follows whsec_ is not base64" in said


async def test_the_url_of_a_registration_is_called_and_nobody_else_is_told_of_it(simulation):
    async with receiving() as receiver, exporting(simulation, registered_webhooks=LOCAL) as exporter:
        url = f"{receiver.url}?token=s3cret"
        answer = await exporter.register(job_id=1, prompt_id="p", webhook_url=url)
        submit(simulation, "p")
        submit(simulation, "q")
        await until(lambda: receiver.got)
        (body,) = receiver.bodies
        assert (body["data"]["run_id"], body["data"]["status"]) == (answer["run_id"], "completed")
        async with exporter.session.get(f"{exporter.url}/api/v1/jobs") as response:
            listed = await response.text()
        assert answer["run_id"] in listed
        assert not any("s3cret" in text for text in (json.dumps(answer), listed, receiver.got[0][1]))


async def test_a_job_that_ended_before_it_was_registered_is_told_too(simulation):
    async with receiving() as receiver, exporting(simulation, registered_webhooks=LOCAL) as exporter:
        submit(simulation, "p", job_id=1)
        await until(lambda: any(job.terminal for job in exporter.monitor.board.jobs))
        await exporter.register(job_id=1, prompt_id="p", webhook_url=receiver.url)
        await until(lambda: receiver.got)
        assert receiver.bodies[0]["data"]["status"] == "completed"


async def test_a_job_is_told_when_it_is_registered_while_it_runs(simulation):
    statuses = (ProgressStatus.PROCESSING, ProgressStatus.COMPLETED)
    local = LOCAL.model_copy(update={"statuses": statuses})
    simulation.executor.speed = 10
    async with receiving() as receiver, exporting(simulation, registered_webhooks=local) as exporter:
        submit(simulation, "p")
        await until(lambda: any(job.status is ProgressStatus.PROCESSING for job in exporter.monitor.board.jobs))
        for _ in range(2):
            await exporter.register(job_id=1, prompt_id="p", webhook_url=receiver.url)
        simulation.executor.speed = 1000
        await until(lambda: len(receiver.got) == 2)
        assert [body["data"]["status"] for body in receiver.bodies] == ["processing", "completed"]


@pytest.mark.parametrize(
    ("url", "status", "code", "message"),
    [
        ("http://127.0.0.1:1/x", 201, None, None),
        ("http://evil.example/x", 403, "webhook_not_allowed", "not one of registered_webhooks.allowed_hosts"),
        ("http://127.0.0.1@evil.example/", 400, "bad_request", "webhook_url carries credentials"),
        ("javascript:alert(1)", 400, "bad_request", "webhook_url does not start with http:// or https://"),
        ("http://127.0.0.1/" + "x" * 2000, 400, "bad_request", "webhook_url is not a printable text"),
        (["http://127.0.0.1/"], 400, "bad_request", "webhook_url is not a printable text"),
    ],
)
async def test_a_url_that_is_not_allowed_registers_nothing(simulation, url, status, code, message):
    async with exporting(simulation, registered_webhooks=LOCAL) as exporter:
        answer = await exporter.register(status, job_id=1, prompt_id="p", webhook_url=url)
        if code is not None:
            assert answer["error"]["code"] == code
            assert message in answer["error"]["message"]
            assert list(exporter.monitor.board.jobs) == []


async def test_without_a_configuration_for_it_no_registration_may_carry_a_url(simulation):
    async with exporting(simulation) as exporter:
        answer = await exporter.register(403, job_id=1, prompt_id="p", webhook_url="https://hooks.example.org/")
        assert answer["error"]["code"] == "webhook_not_allowed"
        assert "registered_webhooks" in answer["error"]["message"]
        assert list(exporter.monitor.board.jobs) == []


def test_whoever_has_no_webhooks_loads_none_of_it():
    code = "import sys, comfyui_exporter.app; print([name for name in sys.modules if 'exporter.webhooks' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
