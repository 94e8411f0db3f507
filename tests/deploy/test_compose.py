"""The stack: what docker-compose.yml promises about images, ports, rights, health and the profiles."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from comfyui_exporter import __version__
from comfyui_exporter.config.flags import COMFYUI_URL, FLAGS
from comfyui_exporter.config.relay_flags import RELAY_FLAGS
from comfyui_exporter.demo.day import SERVERS
from deploy.compose import FILE, ROOT, compose, services, variables

SERVICES = services()
OURS = {"exporter", "push", "simulated-0", "simulated-1", "simulated-2"}
ROOT_NEEDED = {"dcgm-exporter": "its engine writes to several places as root, though without capabilities"}
each = pytest.mark.parametrize("name", SERVICES)


def has_compose() -> bool:
    """Whether Docker is here with Compose; it is optional."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


needs_docker = pytest.mark.skipif(not has_compose(), reason="Docker Compose is not installed; it is optional")


def bind_mounts(name):
    """Source, target and whether it is read-only."""
    for volume in SERVICES[name].get("volumes", ()):
        if isinstance(volume, dict):
            if volume["type"] == "bind":
                yield volume["source"], volume["target"], volume.get("read_only", False)
        elif volume.startswith("."):
            source, target, *options = volume.split(":")
            yield source, target, "ro" in options


def test_the_stack_has_the_services_and_profiles_that_the_pages_name():
    by_profile = {}
    for name, service in SERVICES.items():
        by_profile.setdefault("".join(service.get("profiles", [])), set()).add(name)
    assert by_profile == {
        "": {"exporter", "push", "prometheus", "alertmanager", "grafana"},
        "demo": {"simulated-0", "simulated-1", "simulated-2"},
        "gpu": {"dcgm-exporter"},
    }


@each
def test_an_image_is_pinned_to_a_full_version(name):
    tag = SERVICES[name]["image"].rpartition(":")[2]
    assert re.match(r"v?\d+\.\d+\.\d+", tag)


def test_the_images_of_others_are_the_versions_that_were_tried():
    images = {service["image"] for service in SERVICES.values()}
    assert {"prom/prometheus:v3.13.5", "prom/alertmanager:v0.34.2", "grafana/grafana:13.2.2"} <= images


def test_our_image_has_our_version_so_that_an_upgrade_builds_a_new_one():
    assert {SERVICES[name]["image"] for name in OURS} == {f"comfyui-exporter:{__version__}"}


@each
def test_a_port_is_open_to_this_host_alone(name):
    for port in SERVICES[name].get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_the_ports_are_the_usual_ones():
    ports = {name: service["ports"] for name, service in SERVICES.items() if "profiles" not in service}
    assert ports == {
        "exporter": ["127.0.0.1:9188:9188"],
        "push": ["127.0.0.1:8329:8329"],
        "prometheus": ["127.0.0.1:9090:9090"],
        "alertmanager": ["127.0.0.1:9093:9093"],
        "grafana": ["127.0.0.1:3000:3000"],
    }


@each
def test_a_service_has_no_rights_that_it_does_not_need(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(service)
    user = int(service["user"].partition(":")[0])
    if name in ROOT_NEEDED:
        return
    assert user > 0
    assert service["read_only"] is True


@each
def test_a_service_comes_back_and_has_a_health_check_that_is_done_soon(name):
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    check = service["healthcheck"]
    assert check["test"][0] == "CMD"
    assert int(check["interval"].removesuffix("s")) <= 15


@each
def test_what_is_mounted_is_in_the_repository_and_cannot_be_changed_from_inside(name):
    for source, _, read_only in bind_mounts(name):
        assert (ROOT / source).exists(), source
        assert read_only, source


def test_what_is_written_is_in_named_volumes():
    written = {}
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            if isinstance(volume, str) and not volume.startswith("."):
                written[name] = volume
    assert written == {
        "exporter": "exporter-state:/var/lib/comfyui-exporter",
        "prometheus": "prometheus-data:/prometheus",
        "alertmanager": "alertmanager-data:/alertmanager",
        "grafana": "grafana-data:/var/lib/grafana",
    }
    assert set(compose()["volumes"]) == {volume.partition(":")[0] for volume in written.values()}


def test_the_exporter_trusts_its_own_network_and_no_other():
    for environ in ({}, {"STACK_SUBNET": "10.1.2.0/24"}):
        whole = compose(environ)
        (config,) = whole["networks"]["comfyui"]["ipam"]["config"]
        trusted = whole["services"]["exporter"]["environment"]["COMFYUI_EXPORTER_WEB_TRUSTED_NETWORKS"]
        assert trusted.split() == [config["subnet"]]


def test_the_host_is_reached_by_name():
    assert SERVICES["exporter"]["extra_hosts"] == ["host.docker.internal:host-gateway"]


def test_every_variable_that_is_handed_on_is_one_of_ours():
    known = {flag.variable for flag in (*FLAGS, *RELAY_FLAGS)} | {COMFYUI_URL}
    for name in OURS:
        assert set(SERVICES[name].get("environment", {})) <= known


def test_the_push_service_relays_the_exporter():
    assert SERVICES["push"]["command"] == ["relay", "--upstream", "ws://exporter:8329"]


def test_prometheus_keeps_exemplars():
    assert "--enable-feature=exemplar-storage" in SERVICES["prometheus"]["command"]


def test_prometheus_scrapes_the_exporter_and_alertmanager_tells_it():
    prometheus = (ROOT / "prometheus/prometheus.yml").read_text()
    targets = {
        target
        for job in yaml.safe_load(prometheus)["scrape_configs"]
        for group in job.get("static_configs", ())
        for target in group["targets"]
    }
    assert "exporter:9188" in targets
    alertmanager = yaml.safe_load((ROOT / "alertmanager/alertmanager.yml").read_text())
    urls = {hook["url"] for receiver in alertmanager["receivers"] for hook in receiver.get("webhook_configs", ())}
    assert "http://exporter:9188/api/v1/alerts" in urls


def test_the_example_of_settings_has_the_default_of_comfyui_and_no_password():
    example = (ROOT / ".env.example").read_text()
    given = dict(line.split("=", 1) for line in example.splitlines() if re.match(r"[A-Z_]+=", line))
    assert given == {"COMFYUI_URL": "http://host.docker.internal:8188", "GRAFANA_ADMIN_PASSWORD": ""}


def test_every_setting_of_the_example_is_one_that_the_stack_takes():
    example = (ROOT / ".env.example").read_text()
    named = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    assert named <= variables()


def test_secrets_are_given_to_the_service_that_needs_them_alone():
    holders = [
        name
        for name, service in compose({"GRAFANA_ADMIN_PASSWORD": "Pa55"})["services"].items()
        if "Pa55" in str(service)
    ]
    assert holders == ["grafana"]


def test_there_is_an_admin_of_grafana_only_with_a_password():
    def environment(password):
        return compose({"GRAFANA_ADMIN_PASSWORD": password})["services"]["grafana"]["environment"]

    # An empty variable counts as none: then the file holds.
    assert environment("")["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == ""
    assert "disable_initial_admin_creation = true" in (ROOT / "grafana/grafana.ini").read_text()
    assert environment("Pa55")["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "false"
    assert environment("Pa55")["GF_SECURITY_ADMIN_PASSWORD"] == "Pa55"


@pytest.fixture
def watched(tmp_path):
    """The servers that the exporter of the stack is started with; `answers` is whether the simulated ones answer."""
    # It stands for the program: asked for health it says `answers`, else it shows its servers.
    program = tmp_path / "comfyui-exporter"
    program.write_text('#!/bin/sh\n[ "$1" != healthcheck ] || exit "$ANSWERS"\necho "$@" "$COMFYUI_URL"\n')
    program.chmod(0o755)

    def watched(url, *, answers):
        service = compose({"COMFYUI_URL": url})["services"]["exporter"]
        done = subprocess.run(
            [*service["entrypoint"], *service["command"]],
            env={
                "PATH": f"{tmp_path}:{os.environ['PATH']}",
                "COMFYUI_URL": service["environment"]["COMFYUI_URL"],
                "ANSWERS": "0" if answers else "1",
            },
            capture_output=True,
            text=True,
            check=True,
        )
        command, _, servers = done.stdout.strip().partition(" ")
        assert command == "run"
        return [server for server in servers.split(",") if server]

    return watched


SIMULATED = [f"{name}=http://simulated-{number}:8188" for number, name in enumerate(SERVERS)]
DEFAULT = "http://host.docker.internal:8188"


def test_without_a_setting_the_comfyui_of_this_host_is_watched(watched):
    assert watched("", answers=False) == [DEFAULT]


def test_the_servers_of_the_settings_are_watched(watched):
    assert watched("a=http://a:1,http://b:2", answers=False) == ["a=http://a:1", "http://b:2"]


@pytest.mark.parametrize("url", ["", DEFAULT])
def test_in_the_demo_the_simulated_servers_take_the_place_of_the_default(watched, url):
    assert watched(url, answers=True) == SIMULATED


def test_in_the_demo_a_server_of_yours_is_watched_too(watched):
    assert watched("a=http://a:1", answers=True) == [*SIMULATED, "a=http://a:1"]


def test_the_simulated_servers_are_those_of_the_profile():
    for number, day in enumerate(SERVERS):
        name = f"simulated-{number}"
        assert SERVICES["exporter"]["depends_on"][name] == {"condition": "service_healthy", "required": False}
        assert SERVICES[name]["command"] == ["simulate", "--host", "0.0.0.0", "--day", day]


@needs_docker
@pytest.mark.parametrize("profiles", [[], ["demo"], ["gpu"], ["demo", "gpu"]])
def test_docker_compose_takes_the_file(profiles, tmp_path: Path):
    options = [option for profile in profiles for option in ("--profile", profile)]
    command = ["docker", "compose", "--env-file", os.devnull, "-f", str(FILE), *options, "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
