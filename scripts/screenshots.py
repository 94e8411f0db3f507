"""Takes the pictures of the documentation: the live page, of an exporter that watches simulated ComfyUIs, a dashboard.

python scripts/screenshots.py page             docs/images/live-page.png, in a minute
python scripts/screenshots.py dashboard        docs/images/dashboard.png, in 16 minutes
python scripts/screenshots.py --review FOLDER  every size, theme and situation of the page, to be looked at

The dashboard is that of a demo with Prometheus and Grafana, which have to be on PATH; GRAFANA_HOME may name the folder
of the latter.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import aiohttp
from grafana_picture import take_dashboard
from playwright.async_api import Browser, async_playwright

from comfyui_exporter.simulator import Simulation
from comfyui_exporter.simulator.workflows import any_workflow

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs/images/live-page.png"
DASHBOARD = ROOT / "docs/images/dashboard.png"
HEIGHTS = {1280: 1500, 1920: 1500, 390: 1700}
"""By width: desks, large screens, phones."""


def write_config(folder: Path, servers: list[dict[str, str]]) -> Path:
    """Write the example with these servers."""
    config = folder / "comfyui-exporter.yml"
    example = (ROOT / "examples/comfyui-exporter.yml").read_text()
    config.write_text(f"{example}\npoll_interval: 500ms\nservers: {json.dumps(servers)}\n")
    return config


@asynccontextmanager
async def exporting(simulations: dict[str, Simulation]) -> AsyncIterator[str]:
    """An exporter that watches these; gives its URL."""
    with tempfile.TemporaryDirectory() as folder:
        servers = [{"name": name, "url": simulation.url} for name, simulation in simulations.items()]
        config = write_config(Path(folder), servers)
        flags = ["--config.file", str(config), "--store.url", "memory", "--push.listen-address", ""]
        flags += ["--web.listen-address", "127.0.0.1:0"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "comfyui_exporter", "run", *flags, stderr=asyncio.subprocess.PIPE
        )
        assert process.stderr is not None
        try:
            while b"address=" not in (line := await process.stderr.readline()):
                assert line, "the exporter did not start"
            drain = asyncio.create_task(process.stderr.read())
            yield "http://" + line.decode().split("address=")[1].split()[0]
            drain.cancel()
        finally:
            process.kill()
            await process.wait()


def alert(name: str, server: str, severity: str, summary: str, description: str, minutes: float) -> dict[str, object]:
    """An alert as Alertmanager tells it."""
    return {
        "status": "firing",
        "labels": {"alertname": name, "server": server, "severity": severity},
        "annotations": {
            "summary": summary,
            "description": description,
            "runbook_url": f"https://example.org/runbooks/{name}.md",
            "dashboard_url": "http://127.0.0.1:3000/d/comfyui-overview",
        },
        "startsAt": (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat(),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://127.0.0.1:9090/graph",
        "fingerprint": name.lower(),
    }


ALERTS = (
    alert("ComfyUIDown", "gpu03", "critical", "gpu03 does not answer", "No answer for 2 minutes; its queue waits.", 2),
    alert(
        "ComfyUIOutOfMemory",
        "gpu01",
        "warning",
        "Jobs on gpu01 run out of GPU memory",
        "3 jobs failed with CUDA out of memory in the last hour.",
        14,
    ),
)


async def post_alerts(url: str) -> None:
    """Let Alertmanager's messages arrive."""
    message = {"version": "4", "status": "firing", "receiver": "exporter-inbox", "alerts": list(ALERTS)}
    async with aiohttp.ClientSession() as session, session.post(f"{url}/api/v1/alerts", json=message) as response:
        response.raise_for_status()


@asynccontextmanager
async def busy(count: int, *, rate: float, pending: int, speed: float, failures: float) -> AsyncIterator[str]:
    """An exporter that has watched so many ComfyUIs work for a while; the fourth is down."""
    async with AsyncExitStack() as stack:
        simulations = {}
        for number in range(count):
            quiet = count > 20 and number % 5 != 0
            name = "comfyui" if count == 1 else f"gpu{number + 1:02}"
            simulations[name] = await stack.enter_async_context(
                Simulation(
                    seed=number,
                    speed=speed,
                    profile="0.38" if number % 3 == 2 else "0.8.0",
                    history=0 if quiet else 40,
                    pending=0 if quiet else (0, pending, 2, 5)[number % 4] if count > 1 else pending,
                    traffic_rate=0.0 if quiet else rate,
                    failure_rate=failures,
                    bridge=number % 2 == 0,
                )
            )
        url = await stack.enter_async_context(exporting(simulations))
        await asyncio.sleep(4)
        for simulation in list(simulations.values())[:12]:
            tag(simulation)
        if count > 3:
            await simulations["gpu03"].kill()
        yield url


def tag(simulation: Simulation) -> None:
    """Have somebody submit jobs with ids and a batch."""
    rng = Random(simulation.url)
    for number in range(4):
        workflow = any_workflow(rng)
        extra = {
            "job_id": 4200 + number + rng.randint(0, 80) * 10,
            "job_type": workflow.kind,
            "batch_id": "spring-campaign",
        }
        simulation.comfy.submit({"prompt": workflow.graph, "extra_data": extra})


async def shoot(browser: Browser, url: str, to: Path, *, width: int, theme: str, height: int, whole: bool) -> None:
    """Take one picture."""
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
        device_scale_factor=2 if width < 600 else 1,
    )
    page = await context.new_page()
    page.on("console", lambda message: print(f"{to.name}: {message.type}: {message.text}"))
    page.on("pageerror", lambda error: print(f"{to.name}: {error}"))
    await page.goto(url)
    await page.wait_for_selector("body[data-phase=live]", timeout=30_000)
    await page.wait_for_timeout(1500)
    await page.screenshot(path=to, full_page=whole)
    await context.close()


async def picture(browser: Browser) -> None:
    """Take the one of the README."""
    PICTURE.parent.mkdir(exist_ok=True)
    async with busy(6, rate=9, pending=30, speed=1.5, failures=0.25) as url:
        await asyncio.sleep(60)
        await post_alerts(url)
        await shoot(browser, url, PICTURE, width=1280, theme="light", height=1310, whole=False)


async def review(browser: Browser, folder: Path, only: str) -> None:
    """Take all to be looked at."""
    situations = {
        "one": {"count": 1, "rate": 4, "pending": 2, "speed": 3, "failures": 0.3},
        "twelve": {"count": 12, "rate": 3, "pending": 60, "speed": 4, "failures": 0.25},
        "many": {"count": 60, "rate": 2, "pending": 8, "speed": 4, "failures": 0.2},
    }
    for name, situation in situations.items():
        if only not in {"", name}:
            continue
        async with busy(**situation) as url:  # type: ignore[arg-type]
            await asyncio.sleep(25)
            if situation["count"] > 3:
                await post_alerts(url)
            for width, height in HEIGHTS.items():
                for theme in ("light", "dark"):
                    to = folder / f"{name}-{width}-{theme}.png"
                    await shoot(browser, url, to, width=width, theme=theme, height=height, whole=False)


async def main() -> None:
    """Take what is asked for."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("picture", nargs="?", choices=("page", "dashboard"), default="page")
    arguments.add_argument("--review", type=Path, help="folder for pictures of everything")
    arguments.add_argument("--only", default="", help="one situation of the review")
    given = arguments.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        if given.review:
            given.review.mkdir(parents=True, exist_ok=True)
            await review(browser, given.review, given.only)
        elif given.picture == "dashboard":
            await take_dashboard(browser, DASHBOARD)
        else:
            await picture(browser)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
