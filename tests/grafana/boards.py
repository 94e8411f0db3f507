"""The committed dashboards, read as Grafana reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from docs.pages import ROOT

FOLDER = ROOT / "grafana/dashboards"
FILES = sorted(FOLDER.glob("*.json"))
BOARDS: dict[str, dict[str, Any]] = {file.stem: json.loads(file.read_text()) for file in FILES}
UIDS = sorted(BOARDS)

CHOSEN = {
    "job": ".+",
    "instance": ".+",
    "server": ".+",
    "job_type": ".+",
    "__range": "5m",
    "__rate_interval": "10s",
    "__interval": "2s",
    "__interval_ms": "10000",
}
"""What variables stand for while all is chosen, in a time range of some minutes."""


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel, an annotation or a variable."""

    uid: str
    of: str
    """The title of the panel, or what else asks."""
    expression: str
    instant: bool = False

    def filled(self, chosen: dict[str, str]) -> str:
        """Put values in the place of variables."""
        return re.sub(r"\$(\w+)", lambda variable: chosen[variable[1]], self.expression)

    def __str__(self) -> str:
        """Name it in a test."""
        return f"{self.uid}: {self.of}"


def panels(uid: str) -> list[dict[str, Any]]:
    """Give the panels of a dashboard, its rows apart."""
    found = [panel for panel in BOARDS[uid]["panels"] if panel["type"] != "row"]
    assert found
    return found


def rows(uid: str) -> list[dict[str, Any]]:
    """Give the rows of a dashboard."""
    return [panel for panel in BOARDS[uid]["panels"] if panel["type"] == "row"]


def panel(uid: str, title: str) -> dict[str, Any]:
    """Give the panel of a title."""
    (found,) = [panel for panel in panels(uid) if panel["title"] == title]
    return found


def variables(uid: str) -> dict[str, dict[str, Any]]:
    """Give the variables of a dashboard by name."""
    return {variable["name"]: variable for variable in BOARDS[uid]["templating"]["list"]}


def annotations(uid: str) -> list[dict[str, Any]]:
    """Give the annotations of a dashboard."""
    return list(BOARDS[uid]["annotations"]["list"])


def _queries() -> Iterator[Query]:
    for uid in UIDS:
        for shown in panels(uid):
            for target in shown["targets"]:
                yield Query(uid, shown["title"], target["expr"], target.get("instant", False))
        for annotation in annotations(uid):
            yield Query(uid, f"annotation {annotation['name']}", annotation["expr"])
        for variable in variables(uid).values():
            if variable["type"] == "query":
                selector = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"])
                assert selector, variable
                yield Query(uid, f"variable {variable['name']}", f"count by ({selector[2]}) ({selector[1]})", True)


QUERIES = list(_queries())
