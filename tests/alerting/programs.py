"""Real processes of a drill: simulated ComfyUIs, exporters, a Prometheus and an Alertmanager."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from alerting.haste import hasty_alertmanager, hasty_prometheus, write_rules
from alertmanager.programs import alertmanager
from prometheus_server import prometheus_program

PATIENCE = 90.0
"""Seconds in which anything happens that has no longer wait of its own."""

_TESTS = Path(__file__).parent.parent


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Program:
    """A process that is started and ended, on the same port however often."""

    def __init__(self, folder: Path, name: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        """What is run."""
        raise NotImplementedError

    ready_path = "/-/ready"
    """Answers 200 once it is ready."""

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COMFYUI")}
        environment["PYTHONPATH"] = str(_TESTS)
        self._start(environment)
        await self._ready()

    def _start(self, environment: Mapping[str, str]) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def kill(self) -> None:
        """End it at once."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def log(self, length: int = 3000) -> str:
        """What it said last."""
        return (self.folder / "log").read_text(errors="replace")[-length:]

    async def get(self, path: str) -> Any:
        """The JSON of an answer."""
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as response:
            response.raise_for_status()
            return await response.json()

    async def post(self, path: str, body: Any) -> Any:
        """Post JSON, for JSON."""
        async with aiohttp.ClientSession() as session, session.post(self.url + path, json=body) as response:
            response.raise_for_status()
            return await response.json(content_type=None)

    async def delete(self, path: str) -> None:
        """Delete something."""
        async with aiohttp.ClientSession() as session, session.delete(self.url + path) as response:
            response.raise_for_status()

    async def _ready(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session:
                while True:
                    assert self._process is not None
                    assert self._process.poll() is None, f"{self.folder.name} ended:\n{self.log()}"
                    try:
                        async with session.get(self.url + self.ready_path) as response:
                            if response.status == 200:
                                return
                    except aiohttp.ClientError:
                        pass
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            error.add_note(f"{self.folder.name} did not get ready:\n{self.log()}")
            raise


class ComfyUI(Program):
    """A simulated ComfyUI in a process of its own."""

    ready_path = "/simulator/faults"

    def __init__(self, folder: Path, name: str, *, speed: float = 1.0) -> None:
        super().__init__(folder, name)
        self.name = name
        self.speed = speed

    def command(self) -> Sequence[str]:
        """What is run; another `speed` needs a restart, as a throttled GPU does not."""
        return (
            sys.executable, "-m", "comfyui_exporter", "simulate", "--port", str(self.port),
            "--speed", str(self.speed), "--failure-rate", "0",
        )  # fmt: skip

    async def submit(self, graph: Mapping[str, Any], **extra_data: Any) -> str:
        """Submit a prompt as a service does, for its id."""
        answer = await self.post("/prompt", {"prompt": graph, "extra_data": {"job_type": "image", **extra_data}})
        return str(answer["prompt_id"])


class Exporter(Program):
    """An exporter, in haste, with a store of its own."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any], port: int | None = None) -> None:
        super().__init__(folder, name, port)
        self.config = self.folder / "exporter.yml"
        self.push = f"ws://127.0.0.1:{self.port}/ws"
        self.configure(settings)

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Write its configuration; it reads it at its next start."""
        self.config.write_text(json.dumps(settings))  # which is YAML too

    def command(self) -> Sequence[str]:
        """What is run."""
        return (
            sys.executable, str(Path(__file__).with_name("exporter_in_haste.py")), "run", "--config.file",
            str(self.config), "--web.listen-address", self.address, "--push.listen-address", "",
            "--store.url", f"sqlite:///{self.folder / 'exporter.db'}",
        )  # fmt: skip


class Alertmanager(Program):
    """An Alertmanager with the configuration that we ship, in haste."""

    def __init__(self, folder: Path, inboxes: Sequence[str], watchdog: str) -> None:
        super().__init__(folder, "alertmanager")
        (self.folder / "templates").symlink_to(_TESTS.parent / "alertmanager/templates")
        config = hasty_alertmanager(inboxes, watchdog)
        (self.folder / "alertmanager.yml").write_text(json.dumps(config))

    def command(self) -> Sequence[str]:
        """What is run."""
        return (
            alertmanager(), f"--config.file={self.folder / 'alertmanager.yml'}",
            f"--storage.path={self.folder / 'data'}", f"--web.listen-address={self.address}",
            "--cluster.listen-address=",
        )  # fmt: skip

    async def kept_back(self) -> list[dict[str, str]]:
        """The labels of the alerts that it keeps back because of others."""
        alerts = await self.get("/api/v2/alerts")
        return [alert["labels"] for alert in alerts if alert["status"]["inhibitedBy"]]


class Prometheus(Program):
    """A Prometheus with the configuration and the rules that we ship, in haste."""

    def __init__(self, folder: Path, alertmanager_address: str) -> None:
        super().__init__(folder, "prometheus")
        self.rules = self.folder / "rules"
        self._targets = self.folder / "targets"
        self._targets.mkdir()
        write_rules(self.rules)
        config = hasty_prometheus(alertmanager_address, self.address, self._targets)
        (self.folder / "prometheus.yml").write_text(json.dumps(config))

    def command(self) -> Sequence[str]:
        """What is run; besides the configuration the times that only flags can change are shorter too."""
        return (
            prometheus_program(), f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}", f"--web.listen-address={self.address}",
            "--query.lookback-delta=5s", "--rules.alert.resend-delay=1s", "--log.level=warn",
        )  # fmt: skip

    def target(self, job: str, address: str) -> None:
        """Scrape an exporter from now on, under a job of its own."""
        file = self._targets / f"{job}.json"
        new = file.with_suffix(".new")
        new.write_text(json.dumps([{"targets": [address], "labels": {"job": job}}]))
        new.rename(file)

    def forget(self, job: str) -> None:
        """Scrape it no more."""
        (self._targets / f"{job}.json").unlink(missing_ok=True)

    async def query(self, query: str) -> list[dict[str, Any]]:
        """What a query gives now."""
        url = f"{self.url}/api/v1/query"
        async with aiohttp.ClientSession() as session, session.get(url, params={"query": query}) as response:
            return list((await response.json())["data"]["result"])

    async def until(self, query: str, patience: float = PATIENCE) -> None:
        """Wait until a query gives something."""
        try:
            async with asyncio.timeout(patience):
                while not await self.query(query):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            error.add_note(f"nothing for {query}")
            raise

    async def alerts(self) -> list[dict[str, Any]]:
        """Alerts that are pending or firing."""
        return list((await self.get("/api/v1/alerts"))["data"]["alerts"])

    async def broken_rules(self) -> list[str]:
        """Rules that could not be evaluated, and why."""
        groups = (await self.get("/api/v1/rules"))["data"]["groups"]
        return [
            f"{rule['name']}: {rule['lastError']}"
            for group in groups
            for rule in group["rules"]
            if rule["health"] == "err"
        ]
