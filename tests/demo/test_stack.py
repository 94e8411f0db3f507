"""What is made of the configuration that we ship, for Prometheus, Alertmanager and Grafana in the demo."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from comfyui_exporter.demo import stack
from comfyui_exporter.demo.ports import Place
from comfyui_exporter.demo.stack import Installed, Stack, find
from docs.pages import ROOT

PLACES = {
    "prometheus": Place("127.0.0.1", 1001),
    "alertmanager": Place("127.0.0.1", 1002),
    "grafana": Place("127.0.0.1", 1003),
}
EXPORTER = Place("0.0.0.0", 1000)


@pytest.fixture
def program(tmp_path):
    """Makes a program of that name, and gives the folder that it is in."""

    def program(name):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o755)
        return file.parent

    return program


def test_programs_are_found_by_their_names_or_debians(program):
    assert find({"PATH": str(program("none/a"))}) == {}
    both = str(program("both/prometheus"))
    program("both/prometheus-alertmanager")
    assert find({"PATH": both}) == {
        "prometheus": Installed((f"{both}/prometheus",)),
        "alertmanager": Installed((f"{both}/prometheus-alertmanager",)),
    }
    program("both/alertmanager")
    assert find({"PATH": both})["alertmanager"].words == (f"{both}/alertmanager",)


def test_grafana_is_found_with_its_home_by_path_or_by_grafana_home(program, tmp_path):
    home = program("grafana-12/conf/defaults.ini").parent
    found = {"grafana": Installed((f"{program('grafana-12/bin/grafana')}/grafana", "server"), home)}
    assert find({"PATH": "", "GRAFANA_HOME": str(home)}) == found
    assert find({"PATH": str(home / "bin")}) == found
    # A package puts a link to it where programs are.
    links = program("usr/bin/other")
    (links / "grafana").symlink_to(home / "bin/grafana")
    assert find({"PATH": str(links)}) == {"grafana": Installed((f"{links}/grafana", "server"), home)}


def test_an_old_grafana_has_another_name(program):
    home = program("grafana-9/conf/defaults.ini").parent
    folder = program("grafana-9/bin/grafana-server")
    assert find({"PATH": str(folder)}) == {"grafana": Installed((f"{folder}/grafana-server",), home)}


def test_a_program_named_grafana_without_the_parts_of_one_is_not_taken(program):
    assert find({"PATH": str(program("bin/grafana"))}) == {}


def test_the_files_are_those_of_the_clone():
    assert stack.shipped() == ROOT


@pytest.fixture
def written(tmp_path):
    """Writes the configuration of one, with these of the three; gives its command."""

    def written(name, *others):
        places = {other: PLACES[other] for other in (name, *others)}
        made = Stack(ROOT, tmp_path, EXPORTER, places)
        return made.command(name, Installed((name,), tmp_path))

    return written


def read(file):
    return json.loads(file.read_text())


def test_prometheus_scrapes_the_exporter_and_what_else_there_is(written, tmp_path):
    written("prometheus", "alertmanager")
    config = read(tmp_path / "prometheus/prometheus.yml")
    targets = {job["job_name"]: job["static_configs"] for job in config["scrape_configs"]}
    assert targets == {
        "comfyui": [{"targets": ["127.0.0.1:1000"]}],
        "prometheus": [{"targets": ["127.0.0.1:1001"]}],
        "alertmanager": [{"targets": ["127.0.0.1:1002"]}],
    }
    assert config["alerting"]["alertmanagers"] == [{"static_configs": [{"targets": ["127.0.0.1:1002"]}]}]


def test_without_an_alertmanager_prometheus_looks_for_none(written, tmp_path):
    written("prometheus")
    config = read(tmp_path / "prometheus/prometheus.yml")
    assert "alerting" not in config
    assert [job["job_name"] for job in config["scrape_configs"]] == ["comfyui", "prometheus"]


def test_its_rules_are_ours_but_for_the_settings_that_have_to_be_others(written, tmp_path):
    written("prometheus", "grafana")
    ours, theirs = ROOT / "prometheus/rules", tmp_path / "prometheus/rules"
    assert {file.name for file in theirs.iterdir()} == {file.name for file in ours.iterdir()}
    changed = [file.name for file in ours.iterdir() if file.read_text() != (theirs / file.name).read_text()]
    assert changed == ["comfyui-settings.yml"]
    (group,) = read(theirs / "comfyui-settings.yml")["groups"]
    rules = {rule["record"]: rule for rule in group["rules"]}
    assert rules["comfyui:links"]["labels"]["grafana"] == "http://127.0.0.1:1003"
    assert rules["comfyui:threshold_job_failed_age_seconds"]["expr"] == "vector(120)"
    assert rules["comfyui:threshold_slo_success_ratio"]["expr"] == "vector(0.95)"


def test_what_is_written_is_valid(written, tmp_path):
    written("prometheus", "alertmanager")
    written("alertmanager")
    for command in (
        ("promtool", "check", "config", tmp_path / "prometheus/prometheus.yml"),
        ("amtool", "check-config", tmp_path / "alertmanager/alertmanager.yml"),
    ):
        program = shutil.which(command[0])
        assert program, f"{command[0]} is not in PATH; Debian has it with prometheus or prometheus-alertmanager"
        done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_alertmanager_tells_the_inbox_of_the_demos_exporter(written, tmp_path):
    written("alertmanager")
    config = read(tmp_path / "alertmanager/alertmanager.yml")
    urls = [hook["url"] for receiver in config["receivers"] for hook in receiver.get("webhook_configs", [])]
    assert urls == ["http://127.0.0.1:1000/api/v1/alerts"]


def test_grafana_has_our_dashboards_and_asks_the_demos_prometheus(written, tmp_path):
    command = written("grafana", "prometheus", "alertmanager")
    provisioning = tmp_path / "grafana/provisioning"
    sources = read(provisioning / "datasources/datasources.yml")["datasources"]
    assert {source["uid"]: source["url"] for source in sources} == {
        "prometheus": "http://127.0.0.1:1001",
        "alertmanager": "http://127.0.0.1:1002",
    }
    (destination,) = sources[0]["jsonData"]["exemplarTraceIdDestinations"]
    assert destination["url"] == "http://127.0.0.1:1000/api/v1/jobs/$${__value.raw}"
    (provider,) = read(provisioning / "dashboards/comfyui.yml")["providers"]
    assert provider["options"]["path"] == str(tmp_path / "grafana/dashboards")
    ours = {file.name for file in (ROOT / "grafana/dashboards").glob("*.json")}
    assert {file.name for file in (tmp_path / "grafana/dashboards").iterdir()} == ours
    assert command.words == ("grafana", "--homepath", str(tmp_path), "--config", f"{ROOT}/grafana/grafana.ini")
    environment = command.environment
    assert environment["GF_SERVER_HTTP_PORT"] == "1003"
    assert environment["GF_PATHS_PROVISIONING"] == str(provisioning)
    assert environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].endswith("/comfyui-overview.json")


def test_its_dashboards_are_ours_but_for_where_the_exporter_is_and_what_is_seen_first(written, tmp_path):
    written("grafana", "prometheus")
    for file in (ROOT / "grafana/dashboards").glob("*.json"):
        theirs = read(tmp_path / "grafana/dashboards" / file.name)
        ours = json.loads(file.read_text().replace("http://127.0.0.1:9188", "http://127.0.0.1:1000"))
        assert theirs == ours | {"time": {"from": "now-15m", "to": "now"}, "refresh": "5s"}


def test_grafana_asks_nobody_in_the_world_and_lets_visitors_only_look(written):
    environment = written("grafana").environment
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    asking = [name for name in environment if "CHECK_FOR" in name or "REPORTING" in name or "NEWS_FEED" in name]
    assert len(asking) == 4
    assert {environment[name] for name in asking} == {"false"}


def test_without_a_prometheus_grafana_has_no_datasource(written, tmp_path):
    written("grafana")
    assert read(tmp_path / "grafana/provisioning/datasources/datasources.yml")["datasources"] == []
