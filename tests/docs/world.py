"""What the pages speak of, for their commands to meet: a clone, a ComfyUI, an exporter, Prometheus, Alertmanager."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from alertmanager.programs import alertmanager
from certificates import own
from comfyui_exporter.simulator.workflows import image
from docs.pages import ROOT
from prometheus_server import PrometheusServer

PATIENCE = 60.0
"""Seconds in which anything happens, on a busy machine too."""

CLONED = ("alertmanager", "bench", "deploy", "examples", "exporter", "grafana", "prometheus", "scripts")
"""Folders that commands read, and may write to: so they are copies."""

SIMULATED = ("--port", "0", "--bridge", "--speed", "100", "--rate", "300", "--failure-rate", "1")
CONFIG = """
poll_interval: 200ms
servers: [{{name: gpu0, url: "http://{simulator}"}}]
job_types: [{{job_type: image, node_types: [SaveImage]}}]
"""
ADDRESS = re.compile(r"\b(?:127\.0\.0\.1|10\.0\.0\.[56]|exporter|HOST):(8188|18188|9188|8329|9090|9093)\b")


@dataclass(frozen=True)
class World:
    """It runs until the end of `with running(folder)`."""

    folder: Path
    addresses: dict[str, str]
    """By the port that the pages name."""
    prompt_id: str
    """Of job 123, which is completed."""

    def here(self, text: str) -> str:
        """Write a command or a program of a page for the addresses and folders of this world."""
        # Ports are open already, so exporters that a page starts take free ones.
        text = re.sub(r"(-listen-address[ =])\S+", r"\g<1>127.0.0.1:0", text)
        text = re.sub(r"(simulate.* --port )\d+", r"\g<1>0", text)
        text = re.sub(r"(comfyui-exporter demo\b)", r"\1 --free-ports", text)
        text = ADDRESS.sub(lambda found: self.addresses[found[1]], text)
        for named, real in {
            "PROMPT_ID": self.prompt_id,
            "/path/to/ComfyUI": f"{self.folder}/ComfyUI",
            "/etc/systemd": f"{self.folder}/etc/systemd",
            "/etc/comfyui-exporter": f"{self.folder}/etc/comfyui-exporter",
            '"SELECT ..."': '"SELECT * FROM comfyui_runs"',
            ".venv/bin/": "",
        }.items():
            text = text.replace(named, real)
        return text

    @property
    def environment(self) -> dict[str, str]:
        """That of whoever types the commands."""
        ours = ("COMFYUI", "PYTHON", "STATE", "MAKE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return kept | {
            "HOME": str(self.folder / "home"),
            "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}",
            "COMFYUI_URL": f"http://{self.addresses['8188']}",
            "COMFYUI_EXPORTER_URL": f"http://{self.addresses['9188']}",
            # What a page starts without saying where it listens, and where it keeps things.
            "COMFYUI_EXPORTER_WEB_LISTEN_ADDRESS": "127.0.0.1:0",
            "COMFYUI_EXPORTER_PUSH_LISTEN_ADDRESS": "127.0.0.1:0",
            "COMFYUI_EXPORTER_RELAY_PUSH_LISTEN_ADDRESS": "127.0.0.1:0",
            "COMFYUI_EXPORTER_STATE_DIR": str(self.folder / "state"),
            # Where a page says to copy an example beside one's program.
            "PYTHONPATH": str(self.folder / "examples"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def run(self, *command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run something to its end."""
        return subprocess.run(
            command, input=text, cwd=self.folder, env=self.environment, capture_output=True, text=True,
            errors="replace", timeout=PATIENCE, check=False,
        )  # fmt: skip

    def until(self, command: str, said: re.Pattern[str]) -> tuple[str, int]:
        """Type on a terminal what goes on for ever, until it has said something, then Ctrl-C; its words and status."""
        terminal, inside = os.openpty()
        termios.tcsetwinsize(terminal, (40, 160))
        # Not the terminal that controls it: so the signal is sent by us, and to all that it started.
        process = subprocess.Popen(
            ["bash", "-c", command], cwd=self.folder, env=self.environment | {"TERM": "xterm"},
            stdin=inside, stdout=inside, stderr=inside, start_new_session=True,
            # Tests may be a job of a shell that lets it ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  it takes no lock
        )  # fmt: skip
        os.close(inside)
        words = b""
        try:
            while not said.search(words.decode(errors="replace")) and (more := _read(terminal)):
                words += more
            os.killpg(process.pid, signal.SIGINT)
            while more := _read(terminal):
                words += more
            process.wait(PATIENCE)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            os.close(terminal)
        return words.decode(errors="replace"), process.returncode


def _read(terminal: int) -> bytes:
    """Wait for more; nothing once nobody is left who could write."""
    try:
        return os.read(terminal, 65536) if select.select([terminal], [], [], PATIENCE)[0] else b""
    except OSError:  # which is how a terminal says that it is closed
        return b""


@contextmanager
def running(folder: Path) -> Iterator[World]:
    """Start everything, and wait until a job is done, another has failed and both are known."""
    with ExitStack() as stack:
        _clone(folder)
        simulator = stack.enter_context(_process(folder, "simulate", *SIMULATED))
        config = folder / "comfyui.yml"
        config.write_text(CONFIG.format(simulator=simulator))
        home = folder / "home/.local/state/comfyui-exporter"
        flags = ["--config.file", str(config), "--state.dir", str(home)]
        push = f"127.0.0.1:{_free_port()}"
        flags += ["--web.listen-address", "127.0.0.1:0", "--push.listen-address", push]
        exporter = stack.enter_context(_process(folder, "run", *flags))
        alerts = stack.enter_context(_alertmanager(folder))
        prometheus = stack.enter_context(PrometheusServer([exporter])).url.removeprefix("http://")
        _until(lambda: _answers(f"http://{exporter}/-/ready"))
        prompt_id = _submit(simulator, exporter)
        (folder / "comfyui-exporter.db").symlink_to(home / "comfyui-exporter.db")
        ports = {"8188": simulator, "18188": simulator, "9188": exporter, "8329": push}
        yield World(folder, ports | {"9090": prometheus, "9093": alerts}, prompt_id)


def _clone(folder: Path) -> None:
    for name in CLONED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.jsonl"))
    for file in ("Makefile", "pyproject.toml", ".env.example", "docker-compose.yml"):
        shutil.copy(ROOT / file, folder)
    for name in ("home", "state", "secrets", "ComfyUI/custom_nodes", "etc/systemd/system", "etc/comfyui-exporter"):
        (folder / name).mkdir(parents=True)
    # What the pages tell their readers to have, too.
    (folder / "tls").mkdir()
    own(folder / "tls", "exporter")
    (folder / "web-config.yml").write_text(
        "tls_server_config:\n  cert_file: tls/exporter.pem\n  key_file: tls/exporter.key\n"
    )
    # Without it curl is content with an answer that is an error.
    (folder / "home/.curlrc").write_text("fail-with-body\nsilent\nshow-error\n")


def _submit(simulator: str, exporter: str) -> str:
    """Have job 123 done; give its prompt id. Others come by themselves, until one of them has failed."""
    _until(lambda: '"failed"' in _text(f"http://{exporter}/api/v1/jobs?status=failed"))
    # Some of them would interrupt what runs, and that may be ours.
    _posted(f"http://{simulator}/simulator/traffic", {"rate": 0})
    _until(lambda: _queue_is_empty(simulator))
    extra = {"job_id": 123, "job_type": "image", "batch_id": "tonight"}
    body = {"prompt": image(Random(1)).graph, "extra_data": extra}
    prompt_id = str(_posted(f"http://{simulator}/prompt", body)["prompt_id"])
    _until(lambda: '"completed"' in _text(f"http://{exporter}/api/v1/jobs/123"))
    return prompt_id


def _queue_is_empty(simulator: str) -> bool:
    return bool(json.loads(_text(f"http://{simulator}/prompt"))["exec_info"]["queue_remaining"] == 0)


@contextmanager
def _process(folder: Path, *arguments: str) -> Iterator[str]:
    """One of our own; gives the address at which it listens first."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COMFYUI")}
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "comfyui_exporter", *arguments], cwd=folder, env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"127\.0\.0\.1:\d+", line):
                break
        else:
            raise RuntimeError("".join(said))
        # It goes on to log, and must not wait for anybody to read that.
        with (folder / f"{arguments[0]}.log").open("w") as log:
            drain = subprocess.Popen(["cat"], stdin=process.stdout, stdout=log)
        yield found[0]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        drain.wait()


@contextmanager
def _alertmanager(folder: Path) -> Iterator[str]:
    address = f"127.0.0.1:{_free_port()}"
    with (folder / "alertmanager.log").open("w") as log:
        process = subprocess.Popen(
            [
                alertmanager(), f"--config.file={ROOT / 'alertmanager/alertmanager.yml'}",
                f"--storage.path={folder / 'alerts'}", f"--web.listen-address={address}", "--cluster.listen-address=",
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        _until(lambda: _answers(f"http://{address}/-/ready"))
        yield address
    finally:
        process.kill()
        process.wait()


def _posted(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.loads(answer.read())


def _text(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            body: bytes = answer.read()
            return body.decode()
    except urllib.error.HTTPError:
        return ""


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE):
            return True
    except OSError:
        return False


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
