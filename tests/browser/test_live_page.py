"""The live page in a real browser, of an exporter that watches a simulated ComfyUI."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from comfyui_exporter.alert_inbox import AlertInbox
from comfyui_exporter.config.model import Config
from comfyui_exporter.config.sections import Push, Store
from comfyui_exporter.config.servers import ServerConfig
from comfyui_exporter.jobs.update import FailureReport, ProgressStatus, ProgressUpdate, ServerUpdate
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.monitor import Monitor
from comfyui_exporter.push.access import Access
from comfyui_exporter.push.handler import PushHandler
from comfyui_exporter.push.hub import Hub
from comfyui_exporter.push_service import PushService
from comfyui_exporter.simulator import Simulation
from comfyui_exporter.simulator.workflows import image
from comfyui_exporter.watch.clock import Clock
from comfyui_exporter.web.about import About
from comfyui_exporter.web.api import Api
from comfyui_exporter.web.auth import Gate
from comfyui_exporter.web.guard import WriteGuard
from comfyui_exporter.web.live_page import LivePage
from comfyui_exporter.web.server import WebServer, build_app
from comfyui_exporter.web.web_config import WebConfig

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 15_000
"""Milliseconds within which anything happens, on a slow machine too."""

HOSTILE = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>"

expect.set_options(timeout=PATIENCE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        # With CI=true nothing is skipped: `make system` installs it.
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("there is no Chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def opened(browser: Browser, url: str, **options: Any) -> AsyncIterator[Page]:
    """A page of its own; what it complains of fails the test."""
    context = await browser.new_context(**options)
    page = await context.new_page()
    page.set_default_timeout(PATIENCE)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if "Content Security Policy" in said.text else None)
    await page.goto(url)
    yield page
    await context.close()
    assert complaints == []


@asynccontextmanager
async def watching(simulation: Simulation, push: Push | None = None) -> AsyncIterator[str]:
    """What `run` puts together; its URL."""
    clock = Clock()
    servers = (ServerConfig(name="gpu0", url=simulation.url),)
    config = Config(poll_interval=0.1, servers=servers, store=Store(url="memory"))
    monitor = Monitor(config, clock=clock, rng=Random(1))
    await monitor.open()
    service = PushService(monitor, push or Push())
    inbox = AlertInbox(monitor, service.hub, clock)
    await inbox.open()
    guard = WriteGuard()
    page = LivePage()
    app = build_app(monitor.metrics, "/metrics", lambda: monitor.ready, page=page)
    Api(
        monitor.board, monitor.history, monitor.register, monitor.kept, service.token_for, service.access, guard
    ).add_to(app)
    inbox.add_to(app, guard)
    links = {"grafana": "http://grafana.example.org"}
    About(links, lambda: monitor.failure_titles, service.access, "/metrics", page.version).add_to(app)
    Gate(WebConfig(), service.access).add_to(app)
    app.router.add_get("/ws", service.handler.__call__)
    server = WebServer(app)
    try:
        host, port = await server.listen("127.0.0.1", 0)
        monitor.start()
        yield f"http://{host}:{port}/"
    finally:
        await monitor.stop()
        await service.close()
        await server.close()


class NobodyKnows:
    async def job_progress(self, *, job_id: str | None, prompt_id: str | None) -> object:
        return None

    async def queue_statistics(self) -> object:
        return {}


class Stage:
    """A push service that tells what the test says, and comes back on the same port."""

    def __init__(self) -> None:
        self.hub = Hub(answers=NobodyKnows())
        self.url = ""
        self._port = 0
        self._server: WebServer | None = None

    async def start(self) -> None:
        access = Access()
        page = LivePage()
        app = build_app(MetricStore(), "/metrics", lambda: True, page=page)
        About({}, lambda: {"cuda_oom": "CUDA out of memory"}, access, "/metrics", page.version).add_to(app)
        app.router.add_get("/ws", PushHandler(self.hub, access).__call__)
        self._server = WebServer(app)
        host, self._port = await self._server.listen("127.0.0.1", self._port)
        self.url = f"http://{host}:{self._port}/"

    async def stop(self) -> None:
        await self.hub.close()
        if self._server is not None:
            await self._server.close()

    async def restart(self) -> None:
        """Another process on the same port, that knows nothing yet."""
        await self.stop()
        self.hub = Hub(answers=NobodyKnows())


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    stage = Stage()
    await stage.start()
    try:
        yield stage
    finally:
        await stage.stop()


def update(name: str, status: str, percent: float = 0.0, **fields: Any) -> ProgressUpdate:
    now = datetime.now(UTC)
    ended = status in {"completed", "failed", "cancelled"}
    given = {
        "job_id": name,
        "comfyui_prompt_id": f"p-{name}",
        "run_id": f"r-{name}",
        "status": ProgressStatus(status),
        "progress_percent": percent,
        "server": "gpu0",
        "job_type": "image",
        "submitted_at": now,
        "started_at": None if status == "queued" else now,
        "ended_at": now if ended else None,
        "estimated_completion": None if ended else now + timedelta(minutes=2),
        "queue_position": 1 if status == "queued" else None,
    }
    return ProgressUpdate(**{**given, **fields})


FAILED = {"failure": FailureReport("cuda_oom", "3", "KSampler", "torch.OutOfMemoryError"), "error_message": "no room"}


def submit(simulation: Simulation, prompt_id: str, **extra: Any) -> None:
    graph = image(Random(0)).graph
    graph["3"]["inputs"]["seed"] = len(simulation.ledger.runs)
    body = {"prompt": graph, "prompt_id": prompt_id, "extra_data": extra}
    status, _ = simulation.comfy.submit(body)
    assert status == 200


async def farther_than(page: Page, percent: float) -> float:
    """Wait until the job that runs is farther than that, or has ended; how far it is."""
    bars = page.locator("#running-rows progress")
    async with asyncio.timeout(PATIENCE / 1000):
        while True:
            values: list[float] = await bars.evaluate_all("bars => bars.map(bar => bar.value)")
            if not values or values[0] > percent:
                return values[0] if values else 100.0
            await asyncio.sleep(0.02)


PROMPTS = [f"0b5c8f0e-6a8c-4d0e-9d0b-0f4f3c1c2a1{number}" for number in range(5)]


async def test_progress_moves_and_a_failure_shows_its_reason(browser: Browser) -> None:
    async with (
        Simulation(speed=8, bridge=True) as simulation,
        watching(simulation) as url,
        opened(browser, url) as page,
    ):
        await expect(page.locator("#connection-text")).to_have_text("Live")
        await expect(page.locator("#servers-rows .state")).to_contain_text("idle")
        await expect(page.locator("#servers-rows td.memory")).to_contain_text("GiB")
        submit(simulation, PROMPTS[0], job_id=7, job_type="portrait")
        simulation.executor.accidents[PROMPTS[1]] = "cuda_oom"
        submit(simulation, PROMPTS[1], job_id=8)
        running = page.locator("#running-rows tr", has_text="#7")
        await expect(running).to_contain_text("portrait")
        await expect(page.locator("#queue-rows tr", has_text="#8")).to_be_visible()
        before = await farther_than(page, 5)
        await farther_than(page, before)
        failed = page.locator("#results-rows tr", has_text="#8")
        await expect(failed).to_contain_text("CUDA out of memory")
        await expect(failed).to_contain_text("KSampler")
        await expect(page.locator("#results-rows tr", has_text="#7")).to_contain_text(".png")
        await expect(page.locator("#announcements")).to_contain_text("Job #8 failed on gpu0: CUDA out of memory")
        assert await page.locator("#links a").get_attribute("href") == "http://grafana.example.org/"


async def test_an_alert_arrives_and_leads_to_its_runbook_alone(browser: Browser) -> None:
    async with Simulation() as simulation, watching(simulation) as url, opened(browser, url) as page:
        await expect(page.locator("#connection-text")).to_have_text("Live")
        alert = {
            "status": "firing",
            "labels": {"alertname": "ComfyUIDown", "server": "gpu0", "severity": "critical"},
            "annotations": {
                "summary": f"gpu0 is down {HOSTILE}",
                "runbook_url": "https://example.org/runbook",
                "dashboard_url": "javascript:alert(1)",
            },
            "startsAt": datetime.now(UTC).isoformat(),
            "endsAt": "0001-01-01T00:00:00Z",
        }
        message = {"version": "4", "status": "firing", "receiver": "r", "alerts": [alert]}
        async with aiohttp.ClientSession() as session, session.post(f"{url}api/v1/alerts", json=message) as response:
            assert response.status == 200
        shown = page.locator("#alerts-list li")
        await expect(shown).to_contain_text("<script>")
        await expect(page.locator("#announcements")).to_contain_text("gpu0 is down")
        assert await shown.locator(".links a").all_inner_texts() == ["Runbook"]
        assert "hacked" not in await page.title()


async def test_a_reload_keeps_filters_and_theme_and_links_carry_them(browser: Browser) -> None:
    async with staged() as stage, opened(browser, stage.url) as page:
        for number in range(3):
            server = f"gpu{number}"
            stage.hub.server(ServerUpdate(server, up=True, running=1, pending=0, drain_seconds=9.0))
            stage.hub.job(update(f"job-{number}", "processing", 10.0, server=server))
        await expect(page.locator("#running-rows tr")).to_have_count(3)
        await page.click("#theme")
        await page.click("#theme")
        await page.locator("#servers-rows a", has_text="gpu1").click()
        await page.fill("#q", "JOB-1 image")
        await expect(page.locator("#running-rows tr")).to_have_count(1)
        assert page.url.endswith("?server=gpu1&q=JOB-1+image")
        await page.reload()
        await expect(page.locator("#running-rows tr")).to_have_count(1)
        await expect(page.locator("#server")).to_have_value("gpu1")
        await expect(page.locator("#q")).to_have_value("JOB-1 image")
        assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
        await page.select_option("#status", "failed")
        await expect(page.locator("#running-rows")).to_be_hidden()
        await page.go_back()
        await expect(page.locator("#running-rows tr")).to_have_count(1)
        await page.click("#clear")
        await expect(page.locator("#running-rows tr")).to_have_count(3)


async def test_a_script_in_a_name_stays_text(browser: Browser) -> None:
    async with staged() as stage, opened(browser, stage.url) as page:
        stage.hub.server(ServerUpdate(HOSTILE, up=True, running=1, pending=0, drain_seconds=None))
        names = {"server": HOSTILE, "job_type": HOSTILE, "batch_id": HOSTILE}
        stage.hub.job(update(HOSTILE, "processing", **names))
        stage.hub.job(update("../..", "failed", error_message=HOSTILE * 9, failure=FailureReport(*[HOSTILE] * 4)))
        await expect(page.locator("#running-rows tr")).to_contain_text("<img src=x")
        await expect(page.locator("#results-rows tr")).to_contain_text("<script>")
        assert await page.locator("main img, main script, main [onerror]").count() == 0
        assert "hacked" not in await page.title()


async def test_what_went_while_it_was_away_vanishes_and_the_filters_stay(browser: Browser) -> None:
    async with staged() as stage, opened(browser, f"{stage.url}?server=gpu0") as page:
        stage.hub.server(ServerUpdate("gpu0", up=True, running=1, pending=1, drain_seconds=9.0))
        stage.hub.job(update("stays", "processing", 40.0))
        stage.hub.job(update("goes", "queued"))
        await expect(page.locator("#queue-rows tr")).to_contain_text("goes")
        await stage.restart()
        await expect(page.locator("#connection-text")).to_contain_text("Connection lost, last update")
        await expect(page.locator("#running-rows tr")).to_contain_text("stays")
        stage.hub.server(ServerUpdate("gpu0", up=True, running=1, pending=0, drain_seconds=9.0))
        stage.hub.job(update("stays", "processing", 70.0))
        await stage.start()
        await page.evaluate("dispatchEvent(new Event('online'))")
        await expect(page.locator("#connection-text")).to_have_text("Live")
        await expect(page.locator("#running-rows tr")).to_contain_text("70 %")
        await expect(page.locator("#queue-rows tr")).to_have_count(0)


async def test_two_hundred_servers_and_a_thousand_jobs_are_not_all_drawn(browser: Browser) -> None:
    async with staged() as stage, opened(browser, stage.url) as page:
        for number in range(200):
            busy = int(number % 10 == 0)
            stage.hub.server(ServerUpdate(f"gpu{number}", up=number != 7, running=busy, pending=0, drain_seconds=0.0))
        for number in range(1000):
            stage.hub.job(update(f"job-{number}", "queued", queue_position=number + 1))
        await expect(page.locator("#queue-count")).to_have_text("1,000")
        await expect(page.locator("#queue-more")).to_contain_text("and 988 more")
        await expect(page.locator("#servers-more")).to_contain_text("and 179 idle servers")
        assert "gpu7" in await page.locator("#servers-rows tr").first.inner_text()
        assert await page.locator("tbody tr").count() < 60
        stage.hub.server_removed("gpu7")
        await expect(page.locator("#servers-count")).to_have_text("199")
        await page.click("#queue-more button")
        await expect(page.locator("#queue-rows tr")).to_have_count(112)


async def test_a_deep_queue_tells_when_each_job_starts(browser: Browser) -> None:
    async with staged() as stage, opened(browser, stage.url) as page:
        now = datetime.now(UTC)
        stage.hub.server(ServerUpdate("gpu0", up=True, running=1, pending=2, drain_seconds=900.0))
        stage.hub.job(update("a", "processing", estimated_completion=now + timedelta(minutes=20)))
        stage.hub.job(update("b", "queued", queue_position=1, estimated_completion=now + timedelta(minutes=40)))
        stage.hub.job(update("c", "queued", queue_position=2, estimated_completion=None))
        first, second = (page.locator("#queue-rows tr").nth(place) for place in (0, 1))
        await expect(first.locator(".starts")).to_have_text("in 20 min")
        await expect(second.locator(".starts")).to_have_text("in 40 min")
        await expect(second.locator(".ready")).to_have_text("\u2013")


async def test_a_token_is_asked_for_once_and_kept_over_a_reload(browser: Browser, tmp_path: Any) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    push = Push(token_file=str(tmp_path / "token"))
    async with Simulation() as simulation, watching(simulation, push) as url, opened(browser, url) as page:
        for token, said in (("wrong", "not accepted"), ("s3cret", None)):
            await page.fill("#token", token)
            await page.press("#token", "Enter")
            if said is not None:
                await expect(page.locator("#notice-text")).to_contain_text(said)
        await expect(page.locator("#connection-text")).to_have_text("Live")
        await page.reload()
        await expect(page.locator("#connection-text")).to_have_text("Live")
        await expect(page.locator("#notice")).to_be_hidden()


async def test_a_keyboard_reaches_everything_and_a_phone_need_not_scroll_sideways(browser: Browser) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True}
    async with staged() as stage, opened(browser, stage.url, **phone) as page:
        stage.hub.server(ServerUpdate("gpu0", up=True, running=1, pending=0, drain_seconds=9.0))
        stage.hub.job(update("x" * 300, "processing", 12.0, job_type="y" * 200, stalled=True))
        stage.hub.job(update("oom", "failed", **{**FAILED, "error_message": "z" * 3000}))
        await expect(page.locator("#running-rows")).to_contain_text("stalled")
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        bar = page.get_by_role("progressbar").first
        await expect(bar).to_have_attribute("aria-label", "Progress of " + "x" * 79 + "…")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "skip"
        await page.locator("summary").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("#results-rows pre")).to_be_visible()
        # News do not take the focus, nor close what is open.
        stage.hub.job(update("later", "completed", 100.0))
        await expect(page.locator("#results-rows tr")).to_have_count(2)
        await expect(page.locator("#results-rows pre")).to_be_visible()
        await expect(page.locator("summary")).to_be_focused()
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_nothing_is_announced_of_what_was_there_before(browser: Browser) -> None:
    async with staged() as stage:
        stage.hub.job(update("old", "failed", **FAILED))
        async with opened(browser, stage.url) as page:
            await expect(page.locator("#results-rows tr")).to_contain_text("CUDA out of memory")
            stage.hub.job(update("new", "failed", **FAILED))
            await expect(page.locator("#announcements")).to_have_text("Job new failed on gpu0: CUDA out of memory")
