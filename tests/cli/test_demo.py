"""`demo`: what it can be told, and what it says when it cannot start."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner

from comfyui_exporter.cli.main import cli


def demo(*flags, **environment):
    variables = {name: value for name, value in os.environ.items() if not name.startswith("COMFYUI")}
    return subprocess.run(
        [sys.executable, "-m", "comfyui_exporter", "demo", *flags],
        capture_output=True,
        text=True,
        check=False,
        env=variables | environment,
        timeout=60,
    )


@pytest.fixture
def taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_an_address_that_was_asked_for_and_is_taken_is_told(taken):
    expected = (1, f"cannot listen on {taken}: Address already in use\n")
    result = demo("--free-ports", "--web.listen-address", taken)
    assert (result.returncode, result.stderr) == expected
    result = demo("--free-ports", COMFYUI_EXPORTER_PUSH_LISTEN_ADDRESS=taken)
    assert (result.returncode, result.stderr) == expected


def test_an_address_that_is_none_is_wrong_usage():
    result = demo("--web.listen-address", "9188")
    assert result.returncode == 2
    assert "--web.listen-address" in result.stderr
    assert "did you mean :9188?" in result.stderr


def test_without_any_program_of_the_stack_it_says_which_there_could_be(tmp_path):
    result = demo("--with-stack", PATH=str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.startswith("--with-stack: none of prometheus, alertmanager (or prometheus-alertmanager) and ")


def test_a_simulated_comfyui_lives_through_the_day_of_a_server():
    command = [sys.executable, "-m", "comfyui_exporter", "simulate", "--port", "0", "--day", "gpu-batch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            where, what = process.stdout.readline(), process.stdout.readline()
        finally:
            process.kill()
    assert re.fullmatch(
        r"simulated ComfyUI 0\.3\.64 at http://127\.0\.0\.1:\d+, through the days of gpu-batch\n", where
    )
    assert what == "08:30  gpu-batch: an application submits six thumbnails as one batch\n"


def test_what_is_part_of_the_story_cannot_be_given_with_a_day():
    result = CliRunner().invoke(cli, ["simulate", "--day", "gpu-batch", "--rate", "3", "--pending", "4"])
    assert result.exit_code == 2
    assert "--pending, --rate cannot be given with it" in result.output
