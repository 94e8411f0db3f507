"""The configurations that we ship, as they are and as a test needs them: quick, and with other addresses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "alertmanager"
DEFAULT = FOLDER / "alertmanager.yml"
EXAMPLES = {file.stem: file for file in sorted((FOLDER / "examples").glob("*.yml"))}
FILES = [DEFAULT, *EXAMPLES.values()]

NEWER = {"discord": (0, 26)}
"""Examples that need a version above the oldest one, 0.25."""


def read(file: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(file.read_text()))


def integration(config: dict[str, Any], receiver: str) -> dict[str, Any]:
    """The first one of a receiver."""
    found = next(each for each in config["receivers"] if each["name"] == receiver)
    return next(settings[0] for name, settings in found.items() if name != "name")


def quick(config: dict[str, Any], repeat_interval: str = "1h") -> dict[str, Any]:
    """Let it wait hardly, and repeat nothing unless told to."""
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "500ms", "group_interval": "300ms", "repeat_interval": repeat_interval}
    return config


def written(config: dict[str, Any], folder: Path) -> Path:
    """Write it into a folder from which its templates are found."""
    (folder / "templates").symlink_to(FOLDER / "templates")
    file = folder / "alertmanager.yml"
    file.write_text(json.dumps(config))  # which is YAML too
    return file


def alert_rules() -> list[tuple[str, str]]:
    """Name and severity of each alert that our rules can raise."""
    found = set()
    for file in (ROOT / "prometheus/rules").glob("*.yml"):
        for group in read(file)["groups"]:
            found |= {(rule["alert"], rule["labels"]["severity"]) for rule in group["rules"] if "alert" in rule}
    return sorted(found)
