"""`comfyui-exporter relay` as a process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest
from click.testing import CliRunner

from comfyui_exporter.cli.main import cli
from comfyui_exporter.config.relay_flags import RELAY_FLAGS

COMMAND = [sys.executable, "-m", "comfyui_exporter", "relay"]


def surroundings(**variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COMFYUI")}
    return {**kept, **variables}


def test_its_help_names_every_flag_with_its_variable():
    help_text = " ".join(CliRunner().invoke(cli, ["relay", "--help"], terminal_width=300).output.split())
    for flag in RELAY_FLAGS:
        assert f"--{flag.name} {flag.metavar}" in help_text
        assert f"env: {flag.variable}" in help_text


def test_settings_that_cannot_be_used_end_it_with_2():
    ended = subprocess.run(
        [*COMMAND, "--push.queue-size", "0"], env=surroundings(), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "--upstream: is needed: the push service to relay, such as ws://HOST:8329",
        '--push.queue-size: found "0"; allowed: a whole number, 1 to 65536',
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_and_ends_with_0(number):
    # Nobody listens on port 9 of loopback: it serves while its upstream is away.
    environ = surroundings(COMFYUI_EXPORTER_RELAY_UPSTREAM="ws://127.0.0.1:9")
    process = subprocess.Popen(
        [*COMMAND, "--push.listen-address", "127.0.0.1:0"], env=environ, stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stderr.readline()
        address = re.search(r"msg=listening address=(\S+) upstream=ws://127\.0\.0\.1:9", line)[1]
        with urllib.request.urlopen(f"http://{address}/metrics") as answer:
            assert b"comfyui_exporter_relay_upstream_connected 0" in answer.read()
        with urllib.request.urlopen(f"http://{address}/-/healthy") as answer:
            assert answer.status == 200
        process.send_signal(number)
        _, told = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "msg=stopping" in told
    assert "Traceback" not in told


def test_a_hangup_reads_its_web_config_anew_and_ends_nothing(tmp_path):
    config = tmp_path / "web.yml"
    config.write_text("http_server_config: {headers: {X-Frame-Options: sameorigin}}\n")
    command = [*COMMAND, "--upstream", "ws://127.0.0.1:9", "--push.listen-address", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command, "--web.config.file", str(config)], env=surroundings(), stderr=subprocess.PIPE, text=True
    )

    def told(words):
        return next(line for line in process.stderr if words in line)

    def framing():
        with urllib.request.urlopen(f"http://{address}/-/healthy") as answer:
            return answer.headers["X-Frame-Options"]

    try:
        address = re.search(r"address=(\S+)", told("msg=listening"))[1]
        assert framing() == "sameorigin"
        config.write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n")
        process.send_signal(signal.SIGHUP)
        told("msg=reloaded")
        assert framing() == "deny"
        config.write_text("http_server_config: {headers: {X-Frame-Options: never}}\n")
        process.send_signal(signal.SIGHUP)
        assert "web.yml:1:" in told("reloading failed, everything stays as it was")
        assert framing() == "deny"
        process.terminate()
        process.communicate(timeout=20)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def test_a_port_that_is_taken_ends_it_with_1():
    with subprocess.Popen(
        [*COMMAND, "--upstream", "ws://127.0.0.1:9", "--push.listen-address", "127.0.0.1:0"],
        env=surroundings(),
        stderr=subprocess.PIPE,
        text=True,
    ) as first:
        try:
            address = re.search(r"address=(\S+)", first.stderr.readline())[1]
            second = subprocess.run(
                [*COMMAND, "--upstream", "ws://127.0.0.1:9", "--push.listen-address", address],
                env=surroundings(),
                capture_output=True,
                check=False,
                text=True,
            )
        finally:
            first.terminate()
    assert second.returncode == 1
    assert "cannot listen on" in second.stderr
