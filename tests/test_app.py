"""The program as a process: what it prints, how it ends, and with which exit code."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import aiohttp
import pytest

from comfyui_exporter.simulator import Simulation
from comfyui_exporter.store.migrations import VERSION

ADDRESSES = ("--web.listen-address", "127.0.0.1:0", "--push.listen-address", "127.0.0.1:0")
NOTHING_KEPT = ("--store.url", "memory")


@contextmanager
def running(*flags: str, store: tuple[str, str] = NOTHING_KEPT) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process of `run` on a free port, and its base URL."""
    command = [sys.executable, "-m", "comfyui_exporter", "run", *ADDRESSES, *store, *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            found = re.search(r"address=(\S+)", line)
            assert found, line
            yield process, f"http://{found[1]}"
        finally:
            process.kill()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_soon(number: signal.Signals) -> None:
    with running("--comfyui.url", "http://127.0.0.1:1") as (process, url):
        assert get(f"{url}/-/healthy")[0] == 200
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(5) == 0
        assert time.monotonic() - began < 2


def test_a_signal_ends_it_soon_while_a_server_hangs() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        running("--comfyui.url", f"http://127.0.0.1:{silent.getsockname()[1]}") as (process, url),
    ):
        assert get(f"{url}/-/ready")[0] == 503
        began = time.monotonic()
        process.terminate()
        assert process.wait(5) == 0
        assert time.monotonic() - began < 2


def test_a_port_in_use_is_said_and_exits_with_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", "comfyui_exporter", "run", *NOTHING_KEPT, "--web.listen-address", address],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert done.returncode == 1
    assert f"cannot listen on {address}" in done.stderr


def test_a_server_that_never_answered_is_down_after_three_tries_and_shows_nothing_else() -> None:
    flags = ("--comfyui.url", "gone=http://127.0.0.1:1", "--comfyui.poll-interval", "100ms")
    with running(*flags) as (_, url):
        deadline = time.monotonic() + 20
        text = ""
        while 'comfyui_up{server="gone"} 0' not in text and time.monotonic() < deadline:
            text = get(f"{url}/metrics")[1]
        assert 'comfyui_up{server="gone"} 0' in text
        assert "comfyui_queue_jobs" not in text
        assert "comfyui_info" not in text
        assert 'comfyui_jobs_total{server="gone",job_type="unknown",status="failed"} 0' in text
        assert get(f"{url}/-/ready")[0] == 200


async def test_a_job_is_followed_to_its_end_on_the_port_of_push_and_at_ws_alike() -> None:
    async with Simulation(speed=20, failure_rate=0) as simulation:
        with running("--comfyui.url", f"gpu0={simulation.url}") as (process, url):
            assert process.stderr is not None
            push = re.search(r"address=(\S+)", process.stderr.readline())
            assert push
            async with aiohttp.ClientSession() as http:
                for address in (f"ws://{push[1]}", f"{url}/ws"):
                    async with http.ws_connect(address) as socket, asyncio.timeout(20):
                        while (await socket.receive_json())["type"] != "snapshot_end":
                            pass
                        simulation.comfy.submit({**simulation.traffic.body(), "extra_data": {"job_id": 7}})
                        status, last = "", {}
                        while status not in {"completed", "failed"}:
                            message = await socket.receive_json()
                            if message["type"] == "progress_update":
                                last = message["data"]
                                status = last["status"]
                        assert (last["job_id"], last["server"], last["progress_percent"]) == (7, "gpu0", 100)


def ends(*flags: str, **environ: str) -> tuple[int, str]:
    """The exit code of a `run` that gives up by itself, and what it logged."""
    command = [
        sys.executable,
        "-m",
        "comfyui_exporter",
        "run",
        *ADDRESSES,
        "--comfyui.url",
        "http://127.0.0.1:1",
        *flags,
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, env={**os.environ, **environ}
    )
    return done.returncode, done.stderr


def test_without_a_store_url_jobs_and_totals_are_kept_in_the_state_folder_over_a_kill(tmp_path: Path) -> None:
    state = ("--state.dir", str(tmp_path / "state"))
    for _ in range(2):  # killed at the end of the first
        with running("--comfyui.url", "gpu0=http://127.0.0.1:1", store=state) as (_process, url):
            assert get(f"{url}/-/healthy")[0] == 200
            assert "comfyui_exporter_store_degraded 0" in get(f"{url}/metrics?self=1")[1]
            code, said = ends(*state)
            assert (code, "another exporter (process " in said) == (1, True), said
    with closing(sqlite3.connect(tmp_path / "state" / "comfyui-exporter.db")) as database:
        assert database.execute("SELECT version FROM comfyui_store").fetchall() == [(VERSION,)]


def test_a_store_that_cannot_be_used_is_said_without_its_password_and_exits_with_one(tmp_path: Path) -> None:
    of_another = tmp_path / "other.db"
    with closing(sqlite3.connect(of_another)) as database:
        database.execute("CREATE TABLE photos (id)")
    (tmp_path / "text.db").write_text("not a database, but longer than the header of one\n" * 100)
    for url, words in (
        (f"sqlite:///{of_another}", "it is a database of another program; nothing was changed"),
        (f"sqlite:///{tmp_path}/text.db", "it is damaged, or no SQLite database"),
        (f"sqlite:///{of_another}/jobs.db", "Not a directory"),
        ("postgresql://me:hunter2@127.0.0.1:1/comfyui", "Connect call failed"),
    ):
        code, said = ends("--store.url", url)
        assert (code, words in said, "hunter2" in said) == (1, True, False), said
        assert "cannot be used" in said


def write_servers(file: Path, **urls: str) -> None:
    """Name these servers in a configuration file."""
    lines = [f"- {{name: {name}, url: '{url}'}}\n" for name, url in urls.items()]
    file.write_text("poll_interval: 100ms\nservers:\n" + "".join(lines))


def post_reload(url: str, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(f"{url}/-/reload", method="POST", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def lines_of(url: str, server: str) -> list[str]:
    return [line for line in get(f"{url}/metrics")[1].splitlines() if f'server="{server}"' in line]


def test_it_reloads_when_asked_and_says_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "comfyui.yml"
    write_servers(file, a="http://127.0.0.1:1", b="http://127.0.0.1:2")
    with running("--config.file", str(file)) as (_, url):
        write_servers(file, b="http://127.0.0.1:2", c="http://127.0.0.1:3")
        assert post_reload(url, Origin="https://evil.example")[0] == 403
        assert lines_of(url, "a")
        assert post_reload(url) == (200, "reloaded\n")
        assert (lines_of(url, "a"), bool(lines_of(url, "c"))) == ([], True)
        file.write_text("servers: [{name: d}]\n")
        code, text = post_reload(url)
        assert (code, text) == (500, f"{file}:1:11: servers[0].url: is required and missing\n")
        assert lines_of(url, "c")
        assert "comfyui_exporter_config_last_reload_successful 0" in get(f"{url}/metrics?self=1")[1]
        assert get(f"{url}/-/reload")[0] == 405


def test_a_reload_changes_what_the_live_page_is_told(tmp_path: Path) -> None:
    file = tmp_path / "comfyui.yml"
    file.write_text("links: {grafana: http://grafana.example.org}\n")
    with running("--config.file", str(file)) as (_, url):
        assert json.loads(get(f"{url}/api/v1/about")[1])["links"] == {"grafana": "http://grafana.example.org"}
        file.write_text(
            "links: {prometheus: http://prometheus.example.org}\n"
            "failure_patterns: [{pattern: missing_lora, title: LoRA file missing, regex: lora}]\n"
        )
        assert post_reload(url) == (200, "reloaded\n")
        said = json.loads(get(f"{url}/api/v1/about")[1])
        assert said["links"] == {"prometheus": "http://prometheus.example.org"}
        assert said["failure_patterns"]["missing_lora"] == "LoRA file missing"


async def test_a_hangup_reloads_and_push_clients_stay_and_are_told(tmp_path: Path) -> None:
    file = tmp_path / "comfyui.yml"
    write_servers(file, a="http://127.0.0.1:1", b="http://127.0.0.1:2")
    with running("--config.file", str(file)) as (process, url):
        async with aiohttp.ClientSession() as http, http.ws_connect(f"{url}/ws") as socket, asyncio.timeout(20):
            while (await socket.receive_json())["type"] != "snapshot_end":
                pass
            write_servers(file, b="http://127.0.0.1:2")
            process.send_signal(signal.SIGHUP)
            told: dict[str, object] = {}
            while told.get("type") != "server_removed":
                told = await socket.receive_json()
            assert told["data"] == {"server": "a"}
            assert not socket.closed
        assert lines_of(url, "a") == []
        process.terminate()
        assert process.wait(5) == 0
