"""What the page on many servers tells people to copy works."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import yaml

from comfyui_exporter.config.changes import AT_START
from comfyui_exporter.config.load import parse
from comfyui_exporter.config.rules import shard
from comfyui_exporter.config.server_files import LARGEST_FILE, read_servers
from comfyui_exporter.fleet import FEW, LONGEST_PHASE
from comfyui_exporter.reload import LOOK_EVERY
from docs.pages import ROOT, fenced

PAGE = (ROOT / "docs/fleet.md").read_text()
BLOCKS = fenced(PAGE, "yaml")
OF_PROMETHEUS = [block for block in BLOCKS if "scrape_configs" in block or "remote_write" in block]


def block_with(text):
    (found,) = [block for block in BLOCKS if text in block]
    return found


def test_the_server_file_is_one(tmp_path):
    file = tmp_path / "servers.yml"
    file.write_text(block_with('- targets: ["10.0.0.5'))
    assert {server.name: server.url for server in read_servers(str(file))} == {
        "10.0.0.5:8188": "http://10.0.0.5:8188",
        "10.0.0.6:8188": "http://10.0.0.6:8188",
        "studio": "https://studio.example.org/comfyui",
    }


def test_the_configuration_that_names_it_is_valid(tmp_path):
    loaded = parse(block_with("server_files:").encode(), "comfyui.yml", tmp_path)
    assert len(loaded.config.server_files) == 2


@pytest.mark.parametrize("block", OF_PROMETHEUS)
def test_what_prometheus_is_given_is_valid(block, tmp_path):
    file = tmp_path / "prometheus.yml"
    file.write_text(block)
    done = subprocess.run(["promtool", "check", "config", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_something_for_prometheus():
    assert len(OF_PROMETHEUS) == 3


def test_the_shards_of_docker_are_all_there_is():
    services = yaml.safe_load(block_with("services:"))["services"].values()
    shards = [shard(service["command"][-1]) for service in services]
    assert [(each.index, each.count) for each in shards] == [(0, 2), (1, 2)]


def test_the_numbers_are_those_of_the_code():
    assert (
        f"With more than {FEW} servers their first polls are spread over\n`poll_interval` ({LONGEST_PHASE:g} s" in PAGE
    )
    assert f"looked at every {LOOK_EVERY:g} seconds" in PAGE
    assert f"larger than {LARGEST_FILE >> 20} MiB" in PAGE


def test_what_takes_effect_at_the_next_start_is_named():
    (sentence,) = [part for part in PAGE.split("\n\n") if "take effect at the next start" in part]
    assert [key for key in AT_START if f"`{key}`" not in sentence] == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_template(tmp_path):
    unit = (ROOT / "deploy/systemd/comfyui-exporter.service").read_text()
    file = tmp_path / "comfyui-exporter@.service"
    file.write_text(unit.replace("/opt/comfyui-exporter/bin/comfyui-exporter", "/bin/true"))
    (tmp_path / "comfyui-exporter@.service.d").mkdir()
    shutil.copy(ROOT / "deploy/systemd/shard.conf", tmp_path / "comfyui-exporter@.service.d")
    instance = tmp_path / "comfyui-exporter@0.service"
    done = subprocess.run(["systemd-analyze", "verify", instance], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
