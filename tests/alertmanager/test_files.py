"""Every configuration that we ship is valid, and sends each alert where its comments say."""

from __future__ import annotations

import re
import shutil

import pytest

from alertmanager.configs import DEFAULT, EXAMPLES, FILES, FOLDER, NEWER, ROOT, alert_rules, integration, read, written
from alertmanager.programs import amtool, version
from comfyui_exporter.alerts.book import FORGET_AFTER
from comfyui_exporter.alerts.webhook import MOST_ALERTS

IDS = [file.stem for file in FILES]
ALERTS = alert_rules()

INFO = {
    "slack": "slack-info",
    "discord": "discord-info",
    "email": "nobody",
    "pagerduty": "nobody",
    "webhook": "webhook",
}
"""Who is told of alerts that are there for information."""


def known(file, tmp_path):
    """The file; with an older version, as its first lines say that it has to be changed."""
    if version() >= NEWER.get(file.stem, (0, 0)):
        return file
    config = read(file)
    for receiver in (file.stem, INFO[file.stem]):
        integration(config, receiver).pop("webhook_url_file")
        integration(config, receiver)["webhook_url"] = "https://discord.com/api/webhooks/1/x"
    return written(config, tmp_path)


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_it_is_valid(file, tmp_path):
    checked = amtool("check-config", known(file, tmp_path))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "1 templates" in checked.stdout or "2 templates" in checked.stdout


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_says_from_which_version_on_it_is_valid(name):
    needed = NEWER.get(name, (0, 25))
    assert f"# Valid from Alertmanager {needed[0]}.{needed[1]} on" in EXAMPLES[name].read_text()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_valid_in_place_of_the_default_too(name, tmp_path):
    shutil.copytree(FOLDER, tmp_path / "alertmanager")
    (tmp_path / "other").mkdir()
    file = shutil.copy(known(EXAMPLES[name], tmp_path / "other"), tmp_path / "alertmanager/alertmanager.yml")
    checked = amtool("check-config", file)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_groups_inhibits_and_fills_the_inbox_as_the_default_does(name):
    default, example = read(DEFAULT), read(EXAMPLES[name])
    assert example["inhibit_rules"] == default["inhibit_rules"]
    assert example["route"]["group_by"] == default["route"]["group_by"]
    assert integration(example, "exporter-inbox") == integration(default, "exporter-inbox")
    inbox = next(route for route in example["route"]["routes"] if route["receiver"] == "exporter-inbox")
    assert {key: inbox[key] for key in ("group_wait", "group_interval", "repeat_interval")} == {
        key: default["route"][key] for key in ("group_wait", "group_interval", "repeat_interval")
    }
    assert inbox["continue"] is True


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_no_secret_stands_in_a_file(file):
    text = re.sub(r"#.*", "", file.read_text())
    assert not re.search(r"(api_url|webhook_url|routing_key|service_key|auth_password|credentials|password): ", text)


def test_the_rules_raise_the_alerts_that_the_tests_know():
    assert len({name for name, _ in ALERTS}) >= 23


def goes_to(file, alert, severity, receivers):
    labels = {"alertname": alert, "severity": severity, "job": "comfyui", "instance": "exporter:9188", "server": "gpu0"}
    arguments = [f"{name}={value}" for name, value in labels.items()]
    tested = amtool("config", "routes", "test", f"--config.file={file}", f"--verify.receivers={receivers}", *arguments)
    assert tested.returncode == 0, f"{alert}: {tested.stdout}{tested.stderr}"


@pytest.mark.parametrize(("alert", "severity"), ALERTS)
def test_by_default_each_alert_goes_to_the_inbox_and_the_watchdog_elsewhere(alert, severity):
    goes_to(DEFAULT, alert, severity, "watchdog" if alert == "Watchdog" else "exporter-inbox")


@pytest.mark.parametrize("name", EXAMPLES)
def test_with_an_example_each_alert_goes_to_the_inbox_and_to_people(name, tmp_path):
    file = known(EXAMPLES[name], tmp_path)
    for alert, severity in ALERTS:
        people = INFO[name] if severity == "info" else name
        goes_to(file, alert, severity, "watchdog" if alert == "Watchdog" else f"exporter-inbox,{people}")


def test_alerts_that_are_not_ours_arrive_as_well():
    goes_to(DEFAULT, "NodeDown", "page", "exporter-inbox")
    for name in ("slack", "email", "pagerduty", "webhook"):
        goes_to(EXAMPLES[name], "NodeDown", "page", f"exporter-inbox,{name}")


def test_the_inbox_is_repeated_to_well_before_it_forgets():
    route = read(DEFAULT)["route"]
    minutes = {key: int(route[key].removesuffix("m")) for key in ("repeat_interval", "group_interval")}
    # It repeats with the first look at a group, one for each group_interval, after repeat_interval is over.
    assert 3 * 60 * sum(minutes.values()) < FORGET_AFTER


def test_a_message_to_the_inbox_has_no_more_alerts_than_it_takes():
    assert integration(read(DEFAULT), "exporter-inbox")["max_alerts"] == MOST_ALERTS


def test_the_files_are_in_the_repository():
    assert (ROOT / "alertmanager/templates/comfyui.tmpl").exists()
    assert set(EXAMPLES) == set(INFO)
