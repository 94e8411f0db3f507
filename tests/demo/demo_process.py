"""A demo as somebody starts it, on free ports, and all the processes that it has."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 60.0
"""Seconds in which anything happens, on a busy machine too."""

_ROW = re.compile(r"^  (\S.*?)  +(\w+://\S+)", re.MULTILINE)


class Demo:
    """One that runs, or has run."""

    def __init__(self, process: subprocess.Popen[str], temporary: Path) -> None:
        self.process = process
        self.urls: dict[str, str] = {}
        """By the names that it prints."""
        self.block = ""
        """What it printed first, to the empty line at its end."""
        self._temporary = temporary

    def read_block(self) -> None:
        """Wait for what it says at the start."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.block += line
            if line == "\n" and "Ctrl-C" in self.block:
                break
        self.urls = dict(_ROW.findall(self.block))
        assert self.urls, self.block

    def get(self, url: str) -> Any:
        """JSON, or None where nobody answers."""
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return json.loads(response.read())
        except (urllib.error.URLError, ConnectionError):
            return None

    def processes(self) -> dict[int, str]:
        """Those of the demo that live, with what they are: found by where the demo keeps its files."""
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                environment = (folder / "environ").read_bytes()
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if f"TMPDIR={self._temporary}".encode() in environment.split(b"\0"):
                found[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace")
        return found

    def files(self) -> list[Path]:
        """What it has left behind, or uses."""
        return list(self._temporary.iterdir())

    def until(self, holds: Callable[[], Any]) -> Any:
        """Wait until something holds, and give it."""
        deadline = time.monotonic() + PATIENCE
        while not (value := holds()):
            assert time.monotonic() < deadline, f"not within {PATIENCE:g} s; processes: {self.processes()}"
            time.sleep(0.02)
        return value

    def end(self, number: signal.Signals) -> int:
        """Send it a signal; its exit code, when nothing of it is left."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self.until(lambda: not self.processes() and not self.files())
        return code


@contextmanager
def demo(temporary: Path, *flags: str, environment: Mapping[str, str] | None = None) -> Iterator[Demo]:
    """Start one; what is left of it at the end is killed."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("COMFYUI")}
    variables |= {"TMPDIR": str(temporary), **(environment or {})}
    process = subprocess.Popen(
        [sys.executable, "-m", "comfyui_exporter", "demo", "--free-ports", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env=variables,
    )
    with process:
        running = Demo(process, temporary)
        try:
            yield running
        finally:
            for number in running.processes():
                os.kill(number, signal.SIGKILL)
