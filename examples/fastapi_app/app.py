"""A FastAPI application that lets its users generate pictures and watch how far they are.

Run it with `uvicorn --factory app:create_app --app-dir examples/fastapi_app`; README.md says more.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection

from comfyui_exporter import ComfyUIClient, ProgressStatus, ProgressUpdate, StatusMonitor, create_status_monitor

log = logging.getLogger("anime")

HERE = Path(__file__).parent
JOB_TYPE = "anime"
_FAILED = {ProgressStatus.FAILED, ProgressStatus.TIMEOUT}


class Generate(BaseModel):
    """What a user wants."""

    prompt: str = Field(default="a lighthouse at dusk", max_length=2000)
    batch_id: str | None = Field(default=None, max_length=200)
    """Jobs of one batch_id belong together."""


@dataclass(frozen=True, slots=True)
class Service:
    """What the routes need."""

    client: ComfyUIClient
    monitor: StatusMonitor
    workflow: Mapping[str, Any]


def create_app(
    *, comfyui_url: str | None = None, workflow: Mapping[str, Any] | None = None, poll_interval: float = 2.0
) -> FastAPI:
    """Make the application; without a URL it uses COMFYUI_URL, or http://127.0.0.1:8188."""
    chosen = json.loads((HERE / "workflow.json").read_text()) if workflow is None else workflow

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Service]]:
        async with ComfyUIClient(comfyui_url) as client:
            # No port of its own for the push service: /ws below tells the browsers.
            monitor = await create_status_monitor(
                client, poll_interval=poll_interval, websocket_port=None, auto_start=False
            )
            monitor.add_progress_callback(alert_on_failure)
            async with monitor:
                yield {"service": Service(client, monitor, chosen)}

    app = FastAPI(title="Anime", lifespan=lifespan)

    @app.post("/api/anime/generate", response_model=None)
    async def generate(wanted: Generate, service: Given) -> dict[str, Any] | JSONResponse:
        """Submit a picture."""
        job_id = uuid.uuid4().hex
        prompt_id = await service.client.submit_workflow(
            filled(service.workflow, wanted.prompt, secrets.randbits(32)),
            extra_data={"job_id": job_id, "job_type": JOB_TYPE},
        )
        if prompt_id is None:
            return JSONResponse({"error": "Failed to submit to ComfyUI"}, status_code=502)
        service.monitor.monitor_job(job_id, prompt_id, JOB_TYPE, wanted.batch_id)
        return {"job_id": job_id, "status": "submitted", "prompt_id": prompt_id}

    @app.get("/api/anime/jobs/{job_id}/progress", response_model=None)
    async def progress(job_id: str, service: Given) -> dict[str, Any] | JSONResponse:
        """Say how far a picture is."""
        update = await service.monitor.get_progress(job_id)
        if update is None:
            return JSONResponse({"error": "Job not found"}, status_code=404)
        return told(update)

    @app.websocket("/ws")
    async def watch(socket: WebSocket, service: Given) -> None:
        """Tell of every update of the jobs that were submitted here."""
        if not same_site(socket):
            await socket.close(1008)
            return
        await socket.accept()
        telling = asyncio.create_task(tell(socket, service.monitor))
        try:
            # Whatever a client says is not asked for; reading is how we notice that it left.
            while (await socket.receive())["type"] != "websocket.disconnect":
                pass
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        """Give the page."""
        return FileResponse(HERE / "static/index.html")

    @app.get("/page.js", include_in_schema=False)
    async def script() -> FileResponse:
        """Give its script."""
        return FileResponse(HERE / "static/page.js", media_type="text/javascript")

    return app


def service_of(connection: HTTPConnection) -> Service:
    """Find what the application's lifespan made."""
    service: Service = connection.state.service
    return service


Given = Annotated[Service, Depends(service_of)]


async def tell(socket: WebSocket, monitor: StatusMonitor) -> None:
    """Send one client what happens.

    Each iteration over `updates()` has a buffer of its own with the newest update of each job and status, so a client
    that reads slowly skips some percents, misses no status, and delays nobody.
    """
    try:
        async for update in monitor.updates():
            await socket.send_json(told(update))
        await socket.close(1001)
    except (WebSocketDisconnect, RuntimeError, OSError):
        log.debug("a client left while it was told")


def told(update: ProgressUpdate) -> dict[str, Any]:
    """Give an update as the browser gets it."""
    ends = update.estimated_completion
    return {
        "job_id": update.job_id,
        "status": update.status,
        "progress": update.progress_percent,
        "estimated_completion": None if ends is None else ends.isoformat(),
        "error": update.error_message,
    }


def alert_on_failure(update: ProgressUpdate) -> None:
    """Wake somebody up: put your pager, mail or chat here. An async function may be given as well."""
    if update.terminal and update.status in _FAILED:
        log.error("ALERT: job %s %s: %s", update.job_id, update.status, update.error_message)


def filled(workflow: Mapping[str, Any], prompt: str, seed: int) -> dict[str, Any]:
    """Put the user's words and a new seed into a workflow; an old seed would give the old picture from the cache."""

    def fill(value: Any) -> Any:
        if value == "%seed%":
            return seed
        return value.replace("%prompt%", prompt) if isinstance(value, str) else value

    return {
        node_id: {**node, "inputs": {name: fill(value) for name, value in node["inputs"].items()}}
        for node_id, node in workflow.items()
    }


def same_site(socket: WebSocket) -> bool:
    """Whether a page of ours opened it, or no page at all: browsers let any page open a socket to anywhere."""
    origin = socket.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == socket.headers.get("host")
