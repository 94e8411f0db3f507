"""What stands in prometheus/, and the programs that judge it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from docs.pages import ROOT

FOLDER = ROOT / "prometheus"
RULE_FILES = sorted((FOLDER / "rules").glob("*.yml"))
TEST_FILES = sorted((FOLDER / "tests").glob("*.yml"))
RUNBOOKS = ROOT / "docs/runbooks"


@dataclass(frozen=True, slots=True)
class Rule:
    """A recording or alerting rule."""

    file: str
    group: str
    body: dict[str, Any]

    @property
    def name(self) -> str:
        """The series that it records, or its alert."""
        return str(self.body.get("record") or self.body["alert"])

    @property
    def expression(self) -> str:
        """Its PromQL."""
        return str(self.body["expr"])

    @property
    def is_alert(self) -> bool:
        """Whether it alerts."""
        return "alert" in self.body

    @property
    def annotations(self) -> dict[str, str]:
        """What an alert says."""
        return dict(self.body["annotations"])


def rules() -> list[Rule]:
    """All rules, in the order of files and groups."""
    return [
        Rule(file.name, group["name"], body)
        for file in RULE_FILES
        for group in yaml.safe_load(file.read_text())["groups"]
        for body in group["rules"]
    ]


ALL = rules()
ALERTS = [rule for rule in ALL if rule.is_alert]
RECORDS = [rule for rule in ALL if not rule.is_alert]
ALERT_NAMES = sorted({rule.name for rule in ALERTS})


def promtool(*arguments: str | Path) -> str:
    """Run promtool, which must be content, and give what it says."""
    program = shutil.which("promtool")
    assert program, "promtool is not in PATH; Debian has it in the package prometheus"
    ran = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr
