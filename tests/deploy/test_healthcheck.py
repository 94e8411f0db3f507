"""`comfyui-exporter healthcheck` as a process, which containers are judged by."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from comfyui_exporter.cli import healthcheck
from comfyui_exporter.cli.healthcheck import default_url

PROGRAM = [sys.executable, "-m", "comfyui_exporter"]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("COMFYUI_")}


def check(*url, env=None):
    done = subprocess.run(
        [*PROGRAM, "healthcheck", *url], capture_output=True, text=True, check=False, env=CLEAN | (env or {})
    )
    return done.returncode, (done.stdout + done.stderr).strip()


@contextmanager
def answering(status, body, address="127.0.0.1"):
    """The URL of a server that always answers that."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    server = HTTPServer((address, 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_running_exporter_is_found_by_the_address_of_the_environment():
    command = [*PROGRAM, "--web.listen-address=127.0.0.1:0", "--push.listen-address=", "--store.url=memory"]
    exporter = subprocess.Popen(
        [*command, "--comfyui.url=http://127.0.0.1:1"], stderr=subprocess.PIPE, text=True, env=CLEAN
    )
    try:
        for line in exporter.stderr:
            if found := re.search(r"msg=listening address=127\.0\.0\.1:(\d+)", line):
                break
        env = {"COMFYUI_EXPORTER_WEB_LISTEN_ADDRESS": f"0.0.0.0:{found[1]}"}
        # Each try takes longer than the exporter needs to become ready.
        for _ in range(20):
            code, said = check(env=env)
            if code == 0:
                break
        assert (code, said) == (0, "200 comfyui-exporter is ready.")
    finally:
        exporter.send_signal(signal.SIGTERM)
        exporter.communicate()
    assert check(env=env)[0] == 1


def test_what_says_that_it_is_not_ready_ends_with_1():
    with answering(503, b"not ready yet\n") as (url, asked):
        assert check(f"{url}/-/ready") == (1, "503 not ready yet")
    assert asked == ["/-/ready"]


def test_another_program_can_be_asked_by_its_url():
    with answering(200, b'{"exec_info": {"queue_remaining": 0}}') as (url, asked):
        assert check(f"{url}/prompt?a=b") == (0, '200 {"exec_info": {"queue_remaining": 0}}')
    assert asked == ["/prompt?a=b"]


def test_nobody_there_ends_with_1():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        code, said = check(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert code == 1
    assert said.startswith("no answer: ")


def test_a_server_that_takes_the_connection_and_says_nothing_ends_with_1(monkeypatch):
    monkeypatch.setattr(healthcheck, "_PATIENCE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(OSError, match="timed out"):
        healthcheck.ask(f"http://127.0.0.1:{silent.getsockname()[1]}/")


@pytest.mark.parametrize("url", ["ftp://a/", "127.0.0.1:9188", "http:///", "http://127.0.0.1:99999/"])
def test_what_is_no_url_ends_with_1(url):
    code, said = check(url)
    assert code == 1
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("listens", "asked"),
    [
        ("", "http://127.0.0.1:9188/-/ready"),
        (":9200", "http://127.0.0.1:9200/-/ready"),
        ("0.0.0.0:9188", "http://127.0.0.1:9188/-/ready"),
        ("[::]:9188", "http://127.0.0.1:9188/-/ready"),
        ("[::1]:9188", "http://[::1]:9188/-/ready"),
        ("10.0.0.5:1, :2", "http://10.0.0.5:1/-/ready"),
    ],
)
def test_where_it_listens_says_where_to_ask(listens, asked):
    assert default_url(listens) == asked


def test_proxies_of_the_environment_are_not_obeyed():
    with answering(200, b"ok") as (url, _):
        assert check(url, env={"http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"})[0] == 0


def test_it_loads_nothing_heavy():
    # It runs every few seconds, in each container.
    code = (
        "import sys; from comfyui_exporter.cli.main import cli\n"
        "try: cli(['healthcheck', 'http://127.0.0.1:1'])\n"
        "except SystemExit: print(sorted({'pydantic', 'aiohttp', 'asyncio', 'urllib.request'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
