"""The example application as its users have it: over HTTP and its socket, with a simulated ComfyUI behind it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from contextlib import AsyncExitStack

import httpx
import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from comfyui_exporter.simulator import Simulation
from examples.loading import EXAMPLES, load

app = load("fastapi_app/app.py")

PATIENCE = 20.0
"""Seconds within which anything happens, on a slow machine too."""

SPEED = 20.0
"""The simulated GPU takes half a second for a picture."""

BROKEN = {
    "1": {"class_type": "ProbeFail", "inputs": {"kind": "oom_torch", "delay_ms": 0, "seed": "%seed%"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "%prompt%"}},
}


class Site:
    """The application behind a port."""

    def __init__(self, port, http, comfy):
        self.port = port
        self.http = http
        self.comfy = comfy

    def socket(self, **options):
        return connect(f"ws://127.0.0.1:{self.port}/ws", **options)

    async def generate(self, **body):
        return (await self.http.post("/api/anime/generate", json=body)).json()

    async def progress(self, job_id):
        return (await self.http.get(f"/api/anime/jobs/{job_id}/progress")).json()


async def told_until(client, status, job_id):
    """What a socket says of a job, up to that status."""
    told = []
    async with asyncio.timeout(PATIENCE):
        while not told or told[-1]["status"] != status:
            message = json.loads(await client.recv())
            if message["job_id"] == job_id:
                told.append(message)
    return told


@pytest.fixture
async def serve():
    """Start a simulated ComfyUI and the application in front of it."""
    async with AsyncExitStack() as stack:

        async def start(**options):
            comfy = await stack.enter_async_context(Simulation(speed=SPEED))
            made = app.create_app(comfyui_url=comfy.url, poll_interval=0.2, **options)
            config = uvicorn.Config(made, ws="websockets-sansio", log_config=None, timeout_graceful_shutdown=5)
            config.load()
            server = uvicorn.Server(config)
            server.lifespan = config.lifespan_class(config)
            listening = stack.enter_context(socket.socket())
            listening.bind(("127.0.0.1", 0))
            # `serve` would take over the signals of this process.
            await server.startup([listening])
            stack.push_async_callback(server.shutdown, [listening])
            port = listening.getsockname()[1]
            http = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}"))
            return Site(port, http, comfy)

        yield start


@pytest.fixture
async def site(serve):
    return await serve()


async def test_a_job_is_submitted_and_told_to_its_end(site):
    async with site.socket() as client:
        answer = await site.generate(prompt="a lighthouse")
        job_id = answer["job_id"]
        assert answer == {"job_id": job_id, "status": "submitted", "prompt_id": answer["prompt_id"]}
        told = await told_until(client, "completed", job_id)
    percents = [update["progress"] for update in told]
    assert percents == sorted(percents)
    assert percents[-1] == 100.0
    assert "processing" in [update["status"] for update in told]
    assert await site.progress(job_id) == told[-1]
    assert told[-1] == {
        "job_id": job_id,
        "status": "completed",
        "progress": 100.0,
        "estimated_completion": None,
        "error": None,
    }
    assert [run.prompt_id for run in site.comfy.ledger.runs] == [answer["prompt_id"]]
    assert [run.job_type for run in site.comfy.ledger.runs] == ["anime"]


async def test_a_job_can_be_asked_for_as_soon_as_it_is_submitted(site):
    answer = await site.generate()
    progress = await site.progress(answer["job_id"])
    assert set(progress) == {"job_id", "status", "progress", "estimated_completion", "error"}
    assert progress["job_id"] == answer["job_id"]


async def test_a_job_that_nobody_submitted_is_not_found(site):
    response = await site.http.get("/api/anime/jobs/nobody/progress")
    assert (response.status_code, response.json()) == (404, {"error": "Job not found"})


async def test_what_comfyui_refuses_is_an_error_to_the_user(serve):
    site = await serve(workflow={"1": {"class_type": "NoSuchNode", "inputs": {}}})
    response = await site.http.post("/api/anime/generate", json={"prompt": "x"})
    assert (response.status_code, response.json()) == (502, {"error": "Failed to submit to ComfyUI"})


async def test_a_failure_is_told_and_somebody_is_alerted(serve, caplog):
    site = await serve(workflow=BROKEN)
    async with site.socket() as client:
        job_id = (await site.generate(prompt="x"))["job_id"]
        told = await told_until(client, "failed", job_id)
    assert told[-1]["error"]
    assert f"ALERT: job {job_id} failed: {told[-1]['error']}" in caplog.text


async def test_a_client_that_does_not_read_delays_no_other(site):
    async with site.socket() as idle, site.socket() as client:
        jobs = [(await site.generate())["job_id"] for _ in range(3)]
        await told_until(client, "completed", jobs[-1])
        told = await told_until(idle, "completed", jobs[-1])
    assert told[-1]["progress"] == 100.0


async def test_a_page_of_another_site_may_not_listen(site):
    with pytest.raises(InvalidStatus):
        await site.socket(origin="http://elsewhere.example").__aenter__()
    async with site.socket(origin=f"http://127.0.0.1:{site.port}"):
        pass


async def test_the_page_has_what_its_script_uses(site):
    page, script = await site.http.get("/"), await site.http.get("/page.js")
    assert page.headers["content-type"].startswith("text/html")
    assert script.headers["content-type"].startswith("text/javascript")
    used = set(re.findall(r'element\("(\w+)"\)', script.text))
    assert used
    assert used == set(re.findall(r'id="(\w+)"', page.text))


def test_a_workflow_is_filled_with_words_and_a_seed_and_stays_as_it_is():
    workflow = {"1": {"class_type": "X", "inputs": {"text": "anime, %prompt%", "seed": "%seed%", "model": ["4", 0]}}}
    filled = app.filled(workflow, "a %seed%", 7)
    assert filled["1"]["inputs"] == {"text": "anime, a %seed%", "seed": 7, "model": ["4", 0]}
    assert workflow["1"]["inputs"]["seed"] == "%seed%"


def test_the_readme_names_every_route():
    page = (EXAMPLES / "fastapi_app/README.md").read_text()
    for route in ("POST /api/anime/generate", "GET /api/anime/jobs/{job_id}/progress", "`/ws`"):
        assert route in page
