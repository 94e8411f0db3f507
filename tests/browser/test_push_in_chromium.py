"""A web page in a real browser follows its jobs over the push socket."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import web
from playwright.async_api import Page, async_playwright

from comfyui_exporter.jobs.update import ProgressStatus, ProgressUpdate
from comfyui_exporter.push.access import Access
from comfyui_exporter.push.handler import build_push_app
from comfyui_exporter.push.hub import Hub
from comfyui_exporter.web.server import WebServer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

PAGE = """<!doctype html><meta charset=utf-8>
<progress max=100 value=0></progress><p id=status></p><p id=name></p>
<script>
const token = new URLSearchParams(location.search).get("token");
const socket = new WebSocket(`ws://127.0.0.1:${location.hash.slice(1)}/?job_id=7`, token ? [token] : []);
socket.onmessage = ({data}) => {
  const message = JSON.parse(data);
  if (message.type !== "progress_update") return;
  document.querySelector("progress").value = message.data.progress_percent;
  document.querySelector("#status").textContent = message.data.status;
  document.querySelector("#name").textContent = message.data.job_type;
};
socket.onclose = () => document.querySelector("#status").textContent ||= "refused";
</script>"""


class NobodyKnows:
    async def job_progress(self, *, job_id: str | None, prompt_id: str | None) -> object:
        return None

    async def queue_statistics(self) -> object:
        return {}


class OneToken:
    async def token(self) -> str | None:
        return "s3cret"


def update(job_id: int, status: ProgressStatus, percent: float, job_type: str = "video") -> ProgressUpdate:
    ended = datetime(2026, 1, 1, tzinfo=UTC) if status is ProgressStatus.COMPLETED else None
    return ProgressUpdate(job_id, f"p{job_id}", status, percent, run_id=f"r{job_id}", job_type=job_type, ended_at=ended)


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    if CHROMIUM is None:
        # With CI=true nothing is skipped: `make system` installs it.
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("there is no Chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield await browser.new_page()
        await browser.close()


async def serve(app: web.Application) -> tuple[WebServer, int]:
    server = WebServer(app)
    _, port = await server.listen("127.0.0.1", 0)
    return server, port


def page_app() -> web.Application:
    async def index(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", index)
    return app


async def test_a_progress_bar_moves_with_its_job_and_with_no_other_and_a_hostile_name_stays_text(page: Page) -> None:
    hub = Hub(answers=NobodyKnows())
    pages, page_port = await serve(page_app())
    push, port = await serve(build_push_app(hub, Access()))
    try:
        hub.job(update(7, ProgressStatus.PROCESSING, 12.5, "<script>document.title='hacked'</script>"))
        await page.goto(f"http://127.0.0.1:{page_port}/#{port}")
        await page.wait_for_function("document.querySelector('progress').value === 12.5")
        assert "<script>" in (await page.text_content("#name") or "")
        hub.job(update(8, ProgressStatus.PROCESSING, 99.0))
        hub.job(update(7, ProgressStatus.PROCESSING, 60.0))
        await page.wait_for_function("document.querySelector('progress').value === 60")
        hub.job(update(7, ProgressStatus.COMPLETED, 100.0))
        await page.wait_for_function("document.querySelector('#status').textContent === 'completed'")
        assert await page.title() == ""
    finally:
        await push.close()
        await pages.close()


async def test_a_page_shows_its_token_as_subprotocol_and_without_it_is_refused(page: Page) -> None:
    hub = Hub(answers=NobodyKnows())
    pages, page_port = await serve(page_app())
    push, port = await serve(build_push_app(hub, Access(token=OneToken())))
    try:
        hub.job(update(7, ProgressStatus.QUEUED, 0.0))
        await page.goto(f"http://127.0.0.1:{page_port}/#{port}")
        await page.wait_for_function("document.querySelector('#status').textContent === 'refused'")
        await page.goto(f"http://127.0.0.1:{page_port}/?token=s3cret#{port}")
        await page.wait_for_function("document.querySelector('#status').textContent === 'queued'")
    finally:
        await push.close()
        await pages.close()
