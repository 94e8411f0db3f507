"""A demo as users start it: simulated ComfyUIs, an exporter and a Prometheus with our rules, all real processes."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from docs.pages import ROOT
from prometheus.shipped import RULE_FILES
from prometheus_server import PrometheusServer

SERVERS = ("gpu0", "gpu1")
_PATIENCE = 30.0
"""Seconds in which a process answers, or the demo fails."""


@dataclass(frozen=True, slots=True)
class Demo:
    """Where everything is."""

    prometheus: PrometheusServer
    simulators: list[str]

    def crash(self, down_seconds: float) -> None:
        """Let the first ComfyUI die, and come back."""
        _post(self.simulators[0] + "/simulator/crash", {"down_ms": down_seconds * 1000})

    def fail(self, share: float) -> None:
        """Let this share of the jobs that are submitted from now on fail."""
        for simulator in self.simulators:
            _post(simulator + "/simulator/traffic", {"failure_rate": share})


@contextmanager
def demo(*, interval_ms: int, speed: float, rate: float, failure_rate: float) -> Iterator[Demo]:
    """Run one until the end of `with`; `rate` is the jobs a minute that each ComfyUI gets."""
    with ExitStack() as running:
        folder = running.enter_context(tempfile.TemporaryDirectory(prefix="comfyui-exporter-demo-"))
        simulators = []
        for seed, _ in enumerate(SERVERS):
            port = _free_port()
            running.enter_context(
                _process(
                    "simulate", "--port", str(port), "--bridge", "--seed", str(seed), "--speed", str(speed),
                    "--rate", str(rate), "--failure-rate", str(failure_rate),
                )
            )  # fmt: skip
            simulators.append(f"http://127.0.0.1:{port}")
            _answers(simulators[-1] + "/prompt")
        exporter = f"127.0.0.1:{_free_port()}"
        watched = [f"--comfyui.url={name}={url}" for name, url in zip(SERVERS, simulators, strict=True)]
        running.enter_context(
            _process(
                "run", *watched, "--config.file", str(ROOT / "examples/comfyui-exporter.yml"), "--state.dir", folder,
                "--web.listen-address", exporter, "--push.listen-address", "",
            )
        )  # fmt: skip
        _answers(f"http://{exporter}/-/ready")
        prometheus = PrometheusServer([exporter], interval_ms=interval_ms, rule_files=RULE_FILES)
        yield Demo(running.enter_context(prometheus), simulators)


@contextmanager
def _process(*arguments: str) -> Iterator[None]:
    log = Path(tempfile.mkstemp(prefix="comfyui-exporter-demo-", suffix=".log")[1])
    with log.open("wb") as file:
        command = [sys.executable, "-m", "comfyui_exporter", *arguments]
        process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()
        log.unlink()


def _answers(url: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _post(url: str, body: dict[str, float]) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10):
        pass


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
