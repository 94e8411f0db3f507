"""The unit files: that systemd takes them, and what they allow."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from comfyui_exporter.cli.main import cli
from comfyui_exporter.config.flags import COMFYUI_URL, FLAGS
from comfyui_exporter.config.relay_flags import RELAY_FLAGS
from deploy.compose import ROOT

FOLDER = ROOT / "deploy/systemd"
UNITS = sorted(file.name for file in FOLDER.glob("*.service"))
PROGRAM = "/opt/comfyui-exporter/bin/comfyui-exporter"
WORST_EXPOSURE = 15
"""Tenths of the 10 that systemd-analyze gives to a unit without any protection."""

each = pytest.mark.parametrize("unit", UNITS)
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def settings(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (FOLDER / unit).read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def installed(tmp_path):
    """A unit in a folder of its own, with a program that is there."""

    def installed(unit: str) -> Path:
        file = tmp_path / unit
        file.write_text(
            (FOLDER / unit).read_text().replace(PROGRAM, str(Path(sys.executable).parent / "comfyui-exporter"))
        )
        return file

    return installed


def analyze(*arguments: object) -> str:
    done = subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_there_is_a_unit_for_the_exporter_and_one_for_a_relay():
    assert UNITS == ["comfyui-exporter-relay.service", "comfyui-exporter.service"]


@needs_systemd
@each
def test_systemd_takes_the_unit_without_a_word(unit, installed):
    assert analyze("verify", installed(unit)) == ""


@needs_systemd
@each
def test_the_unit_is_well_protected(unit, installed):
    analyze("security", "--offline=true", "--no-pager", f"--threshold={WORST_EXPOSURE}", installed(unit))


@needs_systemd
def test_systemd_takes_what_opens_the_way_to_the_driver(installed):
    file = installed("comfyui-exporter.service")
    folder = Path(f"{file}.d")
    folder.mkdir()
    shutil.copy(FOLDER / "gpu.conf", folder)
    assert analyze("verify", file) == ""


@each
def test_the_unit_runs_a_command_that_there_is_under_a_user_of_its_own(unit):
    program, command = settings(unit)["ExecStart"][0].split()
    assert program == PROGRAM
    assert command in cli.commands
    assert settings(unit)["DynamicUser"] == ["yes"]


@each
def test_secrets_come_as_credentials(unit):
    assert settings(unit)["LoadCredential"] == ["secrets:/etc/comfyui-exporter/secrets"]


@each
def test_it_is_started_again_unless_its_settings_are_wrong(unit):
    assert settings(unit)["Restart"] == ["on-failure"]
    assert settings(unit)["RestartPreventExitStatus"] == ["2"]


@each
def test_a_hangup_reloads(unit):
    assert settings(unit)["ExecReload"] == ["/bin/kill -HUP $MAINPID"]


def test_each_shard_has_a_share_ports_and_a_folder_of_its_own():
    lines = (FOLDER / "shard.conf").read_text().splitlines()
    variables = dict(line.split("=", 2)[1:] for line in lines if line.startswith("Environment="))
    assert set(variables) <= {flag.variable for flag in FLAGS}
    assert variables["COMFYUI_EXPORTER_SHARD"] == "%i/3"
    assert all("%i" in value for value in variables.values())
    assert lines[-2:] == ["StateDirectory=", "StateDirectory=comfyui-exporter/%i"]


def test_only_the_exporter_keeps_something():
    assert settings("comfyui-exporter.service")["StateDirectory"] == ["comfyui-exporter"]
    assert "StateDirectory" not in settings("comfyui-exporter-relay.service")


def test_the_example_of_settings_has_variables_that_there_are():
    named = set(re.findall(r"^#?([A-Z_]+)=", (FOLDER / "comfyui-exporter.env").read_text(), re.MULTILINE))
    assert named <= {flag.variable for flag in (*FLAGS, *RELAY_FLAGS)} | {COMFYUI_URL}
    assert COMFYUI_URL in named
