"""The rules and configurations that we ship, with their times made shorter and nothing else changed.

A minute of a real stack is two seconds here (`HASTE`). Divided are

- in rules: `for`, `keep_firing_for`, the ranges and subqueries in `[...]` and what follows `offset`, also in the
  queries of annotations; and the thresholds that are seconds, except the one for scrapes;
- in prometheus.yml: the intervals of scrapes and evaluations. Its targets are those of the drills;
- in alertmanager.yml: group_wait, group_interval and repeat_interval. The inbox is the receiver of the drills, and the
  watchdog has one, as the file says how.

So a window holds as many scrapes as it does in reality. A scrape takes what it takes, whatever a second is: the
threshold for that is `SCRAPE_SECONDS`, and on a machine that is too busy to answer within half a second an exporter is
down.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
RULES = sorted((ROOT / "prometheus/rules").glob("*.yml"))

HASTE = 30
"""How many times shorter everything is. With more, a machine with two cores is too slow for its own scrapes."""

SCRAPE_SECONDS = 0.2
"""Instead of 2: a scrape may take as long as the interval, half a second here."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
_PART = r"\d+(?:ms|[smhdwy])"
_DURATION = re.compile(rf"(?:{_PART})+")
_IN_QUERY = re.compile(rf"(?<=\[)(?:{_PART})+(?::(?:(?:{_PART})+)?)?(?=\])|(?<=\boffset )(?:{_PART})+")

_THRESHOLDS_IN_SECONDS = re.compile(r"comfyui:threshold_\w+_seconds")


def seconds(duration: str) -> float:
    """How long `1h30m` is."""
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|[smhdwy])", duration))


def shorter(duration: str) -> str:
    """The same in haste."""
    return f"{max(1, round(seconds(duration) / HASTE * 1000))}ms"


def hasty_query(text: str) -> str:
    """PromQL, or a text with PromQL in it, with shorter ranges, subqueries and offsets."""
    return _IN_QUERY.sub(lambda found: _DURATION.sub(lambda duration: shorter(duration[0]), found[0]), text)


def hasty_rules(document: Mapping[str, Any]) -> dict[str, Any]:
    """A file of rules."""
    groups = [{**group, "rules": [_hasty_rule(rule) for rule in group["rules"]]} for group in document["groups"]]
    return {**document, "groups": groups}


def _hasty_rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    hasty = {**rule, "expr": hasty_query(rule["expr"])}
    for name in ("for", "keep_firing_for"):
        if name in rule:
            hasty[name] = shorter(rule[name])
    if "annotations" in rule:
        hasty["annotations"] = {name: hasty_query(text) for name, text in rule["annotations"].items()}
    record = rule.get("record", "")
    if record == "comfyui:threshold_scrape_seconds":
        hasty["expr"] = f"vector({SCRAPE_SECONDS})"
    elif _THRESHOLDS_IN_SECONDS.fullmatch(record):
        value = re.fullmatch(r"vector\((.+)\)", rule["expr"])
        assert value, rule
        hasty["expr"] = f"vector({float(value[1]) / HASTE})"
    return hasty


def hasty_prometheus(alertmanager: str, itself: str, targets: Path) -> dict[str, Any]:
    """prometheus.yml, with what is in the files `targets` for exporters."""
    config = dict(yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text()))
    times = {name: shorter(config["global"][name]) for name in ("scrape_interval", "evaluation_interval")}
    config["global"] = {**config["global"], **times, "scrape_timeout": times["scrape_interval"]}
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [alertmanager]}]}]
    config["scrape_configs"] = [
        {"job_name": "comfyui", "file_sd_configs": [{"files": [str(targets / "*.json")], "refresh_interval": "1s"}]},
        {"job_name": "prometheus", "static_configs": [{"targets": [itself]}]},
        {"job_name": "alertmanager", "static_configs": [{"targets": [alertmanager]}]},
    ]
    return config


def hasty_alertmanager(inboxes: Sequence[str], watchdog: str) -> dict[str, Any]:
    """alertmanager.yml, with these URLs for its receivers."""
    config = dict(yaml.safe_load((ROOT / "alertmanager/alertmanager.yml").read_text()))
    for route in (config["route"], *config["route"]["routes"]):
        for name in ("group_wait", "group_interval", "repeat_interval"):
            if name in route:
                route[name] = shorter(route[name]) if seconds(route[name]) else "0s"
    receivers = {receiver["name"]: receiver for receiver in config["receivers"]}
    (webhook,) = receivers["exporter-inbox"]["webhook_configs"]
    receivers["exporter-inbox"]["webhook_configs"] = [{**webhook, "url": url} for url in inboxes]
    receivers["watchdog"]["webhook_configs"] = [{"url": watchdog, "send_resolved": False}]
    return config


def write_rules(folder: Path) -> None:
    """Write all rules, in haste, into a folder."""
    folder.mkdir(exist_ok=True)
    for file in RULES:
        (folder / file.name).write_text(json.dumps(hasty_rules(yaml.safe_load(file.read_text()))))  # which is YAML too
