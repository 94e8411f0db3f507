"""The picture of a dashboard: the demo lives through a day in front of a real Prometheus and Grafana."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser

DASHBOARD = "comfyui-overview"
MINUTES = 15
"""A day of the demo and the morning of the next: graphs are full then, and the busy hours begin."""
SHOWN = 12
"""Minutes on the graphs: a day."""
BUSY = 3, 8
"""Jobs that run and that wait, so that there is something to see."""
WIDTH, HEIGHT = 1280, 1310
"""As wide as the picture of the live page, which stands beside it, and as high as the dashboard."""
_QUIET = 3_000
"""Milliseconds in which panels draw what they were answered."""


@asynccontextmanager
async def demo() -> AsyncIterator[tuple[str, str]]:
    """Run the demo with its stack; gives the URLs of the live page and of Grafana."""
    command = (sys.executable, "-u", "-m", "comfyui_exporter", "demo", "--with-stack", "--free-ports")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    drain = None
    try:
        said = page = b""
        while (found := re.search(rb"Grafana\s+(http://\S+)", said)) is None:
            said = await process.stdout.readline()
            assert said, "the demo ended"
            page = said.split()[-1] if said.lstrip().startswith(b"Live page") else page
            assert b"Ctrl-C" not in said, "there is no Grafana: put it on PATH, or set GRAFANA_HOME"
        drain = asyncio.create_task(process.stdout.read())
        yield page.decode(), found[1].decode()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.wait()
        if drain is not None:
            await drain


def is_busy(page: str) -> bool:
    """Whether there is much to do at the moment."""
    with urllib.request.urlopen(f"{page.rstrip('/')}/api/v1/servers", timeout=10) as answer:
        servers = json.load(answer)["items"]
    running, waiting = (sum(server[name] or 0 for server in servers) for name in ("running", "pending"))
    return running >= BUSY[0] and waiting >= BUSY[1]


async def take_dashboard(browser: Browser, to: Path) -> None:
    """Take the picture in the busy hours of the second day."""
    async with demo() as (live, grafana):
        await asyncio.sleep(MINUTES * 60)
        while not await asyncio.to_thread(is_busy, live):  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(1)
        page = await browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        await page.goto(f"{grafana.rstrip('/')}/d/{DASHBOARD}?kiosk&theme=light&from=now-{SHOWN}m&to=now")
        await page.wait_for_load_state("networkidle")
        await page.wait_for_timeout(_QUIET)
        await page.screenshot(path=to)
        await page.close()
