"""A real Alertmanager and its amtool."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp

PATIENCE = 30.0
"""Seconds within which anything happens, on a slow machine too."""


def alertmanager() -> str:
    """Where it is: Debian has it under a longer name. LookupError that says what to install."""
    found = shutil.which("alertmanager") or shutil.which("prometheus-alertmanager")
    if found is None:
        msg = "no alertmanager: install it (Debian: prometheus-alertmanager, 0.25 or newer); its service need not run"
        raise LookupError(msg)
    return found


def amtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("amtool")
    if program is None:
        msg = "no amtool: install it (Debian: prometheus-alertmanager)"
        raise LookupError(msg)
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


@cache
def version() -> tuple[int, int]:
    said = subprocess.run([alertmanager(), "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"version (\d+)\.(\d+)", said.stdout + said.stderr)
    assert found, said
    return int(found[1]), int(found[2])


class Alertmanager:
    """One that runs."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def post(self, *alerts: Mapping[str, Any]) -> None:
        """Do what Prometheus does."""
        async with self._session.post(f"{self.url}/api/v2/alerts", json=list(alerts)) as response:
            assert response.status == 200, await response.text()

    async def alerts(self) -> list[dict[str, Any]]:
        """What it knows, also of those that are inhibited."""
        async with self._session.get(f"{self.url}/api/v2/alerts") as response:
            assert response.status == 200, await response.text()
            return list(await response.json())


@asynccontextmanager
async def running(config: Path):
    """Run it with this configuration, alone and on a free port."""
    folder = config.parent
    port = _free_port()
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            alertmanager(), f"--config.file={config}", f"--storage.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=", "--log.level=debug",
            stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as session:
            await _ready(session, url, process, folder / "log")
            yield Alertmanager(url, session)
    except BaseException as error:
        error.add_note((folder / "log").read_text()[-4_000:])
        raise
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _ready(session, url, process, log):
    async with asyncio.timeout(PATIENCE):
        while True:
            assert process.returncode is None, log.read_text()
            try:
                async with session.get(f"{url}/-/ready") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.02)


def firing(alertname: str, **labels: str) -> dict[str, Any]:
    """An alert as a rule would make it."""
    return {
        "labels": {
            "alertname": alertname,
            "severity": "warning",
            "job": "comfyui",
            "instance": "exporter:9188",
            **labels,
        },
        "annotations": {
            "summary": f"{alertname} happens.",
            "description": f"It happens on {labels.get('server', 'the exporter')}.",
            "runbook_url": f"https://runbooks.example/{alertname}.md",
            "dashboard_url": f"http://127.0.0.1:3000/d/x?var-server={labels.get('server', '')}",
        },
        "generatorURL": "http://prometheus:9090/graph",
    }


def resolved(alert: Mapping[str, Any]) -> dict[str, Any]:
    """The same, over since now."""
    return {**alert, "endsAt": datetime.now(UTC).isoformat()}


def servers(alerts: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted(alert["labels"]["server"] for alert in alerts)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
