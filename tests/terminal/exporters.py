"""Exporters for tests: a real one that watches a simulated ComfyUI, and one that says what the test wants."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from aiohttp import web
from click.testing import CliRunner

from comfyui_exporter.cli.main import cli
from comfyui_exporter.config.model import Config
from comfyui_exporter.config.sections import Push, Store
from comfyui_exporter.config.servers import ServerConfig
from comfyui_exporter.config.web_config import load_web_config
from comfyui_exporter.jobs.update import ProgressStatus, ProgressUpdate, ServerUpdate
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.monitor import Monitor
from comfyui_exporter.push.access import Access
from comfyui_exporter.push.handler import PushHandler
from comfyui_exporter.push.hub import Hub
from comfyui_exporter.push.messages import job_data, server_data
from comfyui_exporter.push_service import PushService
from comfyui_exporter.simulator import Simulation
from comfyui_exporter.simulator.workflows import image
from comfyui_exporter.web.about import About
from comfyui_exporter.web.api import Api
from comfyui_exporter.web.auth import Gate
from comfyui_exporter.web.guard import WriteGuard
from comfyui_exporter.web.server import WebServer, build_app
from comfyui_exporter.web.web_config import WebConfig

PATIENCE = 30.0
"""Seconds within which anything happens, on a slow machine too."""

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("COMFYUI")}


@asynccontextmanager
async def watching(
    simulation: Simulation, push: Push | None = None, web_config: Path | None = None
) -> AsyncIterator[str]:
    """What `run` puts together, as far as clients see it; its URL."""
    config = WebConfig(web_config, load_web_config)
    await config.reload()
    servers = (ServerConfig(name="gpu0", url=simulation.url),)
    monitor = Monitor(Config(poll_interval=0.1, servers=servers, store=Store(url="memory")), rng=Random(1))
    await monitor.open()
    service = PushService(monitor, push or Push())
    app = build_app(monitor.metrics, "/metrics", lambda: monitor.ready)
    Api(
        monitor.board, monitor.history, monitor.register, monitor.kept, service.token_for, service.access, WriteGuard()
    ).add_to(app)
    About({}, lambda: monitor.failure_titles, service.access, "/metrics", "").add_to(app)
    Gate(config, service.access).add_to(app)
    app.router.add_get("/ws", service.handler.__call__)
    server = WebServer(app, config)
    try:
        host, port = await server.listen("127.0.0.1", 0)
        monitor.start()
        yield f"{'http' if web_config is None else 'https'}://{host}:{port}"
    finally:
        await monitor.stop()
        await service.close()
        await server.close()


def submit(simulation: Simulation, prompt_id: str, *, steps: int | None = None, **extra: Any) -> None:
    """Submit an image, which no other job has in its cache."""
    graph = image(Random(0)).graph
    graph["3"]["inputs"]["seed"] = len(simulation.ledger.runs)
    if steps is not None:
        graph["3"]["inputs"]["steps"] = steps
    status, _ = simulation.comfy.submit({"prompt": graph, "prompt_id": prompt_id, "extra_data": extra})
    assert status == 200


class NobodyKnows:
    async def job_progress(self, *, job_id: str | None, prompt_id: str | None) -> object:
        return None

    async def queue_statistics(self) -> object:
        return {}


class Stage:
    """An exporter that tells what the test says, and comes back on the same port."""

    def __init__(self) -> None:
        self.hub = Hub(answers=NobodyKnows())
        self.url = ""
        self.servers: list[ServerUpdate] = []
        self.jobs: list[ProgressUpdate] = []
        """What the API has; newest first."""
        self.asked: list[str] = []
        """Paths with queries, in order."""
        self._port = 0
        self._server: WebServer | None = None

    async def start(self) -> None:
        app = build_app(MetricStore(), "/metrics", lambda: True)
        app.router.add_get("/ws", PushHandler(self.hub, Access()).__call__)
        app.router.add_get("/api/v1/about", self._about)
        app.router.add_get("/api/v1/servers", self._servers)
        app.router.add_get("/api/v1/jobs", self._jobs)
        app.router.add_get("/api/v1/jobs/{id:.+}", self._job)
        self._server = WebServer(app)
        host, self._port = await self._server.listen("127.0.0.1", self._port)
        self.url = f"http://{host}:{self._port}"

    async def stop(self) -> None:
        await self.hub.close()
        if self._server is not None:
            await self._server.close()

    async def restart(self) -> None:
        """Another process on the same port, that knows nothing yet; `start` makes it reachable."""
        await self.stop()
        self.hub = Hub(answers=NobodyKnows())

    async def _about(self, _: web.Request) -> web.Response:
        return web.json_response({"failure_patterns": {"cuda_oom": "CUDA out of memory"}})

    async def _servers(self, _: web.Request) -> web.Response:
        return web.json_response({"items": [server_data(server) for server in self.servers]})

    async def _jobs(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        statuses = request.query.getall("status", [])
        found = [job for job in self.jobs if not statuses or job.status in statuses]
        start, limit = int(request.query.get("cursor", "0")), int(request.query["limit"])
        more = len(found) > start + limit
        items = [job_data(job) for job in found[start : start + limit]]
        return web.json_response({"items": items, "next_cursor": str(start + limit) if more else None})

    async def _job(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        self.asked.append(request.path)
        for job in self.jobs:
            if name in {str(job.job_id), job.comfyui_prompt_id}:
                return web.json_response(job_data(job, ()))
        return web.json_response({"error": {"code": "not_found", "message": "no such job"}}, status=404)


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    stage = Stage()
    await stage.start()
    try:
        yield stage
    finally:
        await stage.stop()


NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def update(name: str, status: str, percent: float = 0.0, **fields: Any) -> ProgressUpdate:
    ended = status in {"completed", "failed", "cancelled"}
    given = {
        "job_id": name,
        "comfyui_prompt_id": f"p-{name}",
        "run_id": f"r-{name}",
        "status": ProgressStatus(status),
        "progress_percent": percent,
        "server": "gpu0",
        "job_type": "image",
        "submitted_at": NOW - timedelta(seconds=90),
        "started_at": None if status == "queued" else NOW - timedelta(seconds=60),
        "ended_at": NOW - timedelta(seconds=20) if ended else None,
        "generation_time": 40.0 if ended else None,
        "estimated_completion": None if ended else NOW + timedelta(minutes=2),
        "queue_position": 1 if status == "queued" else None,
    }
    return ProgressUpdate(**{**given, **fields})


async def asked(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Run a command without a terminal, in a thread beside us: exit code, output, errors."""
    gone = {name: None for name in os.environ if name.startswith("COMFYUI")}
    run = partial(CliRunner().invoke, cli, arguments, env=gone | (env or {}), prog_name="comfyui-exporter")
    async with asyncio.timeout(PATIENCE):
        result = await asyncio.to_thread(run)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


async def program(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Run the program to its end, without a terminal: exit code, output, errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "comfyui_exporter", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=CLEAN | (env or {}),
    )
    try:
        async with asyncio.timeout(PATIENCE):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()
