"""The exporter as a real process, kept running as a service manager keeps it, and killed without warning."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PROGRAM = Path(__file__).with_name("hasty.py")


class ExporterProcess:
    """`comfyui-exporter run` with these settings, on the same port however often it is started.

    Args:
        settings: What its configuration file says.
        store_url: Where it keeps what is to last.
        folder: For its files and its log.
        haste: How many times shorter the world's seconds are, see `hasty`.
    """

    def __init__(self, settings: Mapping[str, Any], store_url: str, folder: Path, haste: float) -> None:
        self.address = f"127.0.0.1:{_free_port()}"
        self.url = f"http://{self.address}"
        self.kills = 0
        self.exits: list[str] = []
        """How it ended when nobody had killed it."""
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "exporter.log"
        config = folder / "exporter.yml"
        config.write_text(json.dumps(settings))  # which is YAML too
        self._command = [
            sys.executable, str(_PROGRAM), "run", "--config.file", str(config), "--web.listen-address", self.address,
            "--push.listen-address", "", "--store.url", store_url,
        ]  # fmt: skip
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("COMFYUI")},
            "HASTE": str(haste),
        }

    @property
    def alive(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.alive:
            return
        if self._process is not None:
            self.exits.append(f"exit code {self._process.returncode}: {self.log_tail(1)}")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )

    def kill(self) -> None:
        """End it as the out-of-memory killer would: at once, without a word."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            self.kills += 1

    def log_tail(self, lines: int = 20) -> str:
        """What it said last."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:]) if self._log.exists() else ""

    def complaints(self) -> list[str]:
        """What it logged as errors."""
        if not self._log.exists():
            return []
        lines = self._log.read_text(errors="replace").splitlines()
        return [line for line in lines if "level=error" in line or "Traceback" in line]

    async def get(self, path: str) -> tuple[int, str] | None:
        """Status and body of an answer; None when there is none."""
        return await asyncio.to_thread(self._get, path)

    async def ready(self) -> bool:
        """Whether it says that it is ready."""
        answer = await self.get("/-/ready")
        return answer is not None and answer[0] == 200

    async def jobs(self) -> list[dict[str, Any]]:
        """Every job of its log, newest first, page by page."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            answer = await self.get("/api/v1/jobs?limit=500" + (f"&cursor={cursor}" if cursor else ""))
            if answer is None or answer[0] != 200:
                msg = f"no page of jobs: {answer}"
                raise RuntimeError(msg)
            page = json.loads(answer[1])
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    def _get(self, path: str) -> tuple[int, str] | None:
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return None


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
