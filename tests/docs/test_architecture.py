"""The page about the architecture names what is there."""

from __future__ import annotations

import re
import tomllib

import pytest

from docs.pages import ROOT

PACKAGE = ROOT / "exporter/comfyui_exporter"
PAGE = (ROOT / "docs/architecture.md").read_text()


def test_every_module_that_is_named_exists() -> None:
    folders = (PACKAGE, ROOT / "tests", ROOT / "grafana/src", ROOT / "scripts")
    modules = {f"/{path.relative_to(ROOT)}" for folder in folders for path in folder.rglob("*.py")}
    named = set(re.findall(r"`([\w/]+\.py)`", PAGE))
    assert named
    gone = sorted(name for name in named if not any(module.endswith(f"/{name}") for module in modules))
    assert not gone, "docs/architecture.md names modules that are not there"


def test_every_part_of_the_package_is_described() -> None:
    parts = {path.name + ("/" if path.is_dir() else "") for path in PACKAGE.iterdir()}
    expected = {part for part in parts if not part.startswith(("_", ".")) and part.endswith((".py", "/"))}
    described = set(re.findall(r"^\| `([\w./]+)` \|", PAGE, re.MULTILINE))
    assert described == expected


def test_the_layers_are_those_that_the_linter_holds() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    held = [layer.replace("comfyui_exporter.", "").replace(" : ", ", ") for layer in contracts[0]["layers"]]
    block = PAGE.partition("\n## Layers\n")[2].partition("\n## ")[0]
    shown = [line.strip() for line in block.splitlines() if line.startswith("    ")]
    assert shown == [layer for layer in held if layer != "__main__"]


PLACES = (
    PACKAGE,
    ROOT,
    ROOT / "tests",
    ROOT / "grafana/src/comfyui_dashboards",
    ROOT / "prometheus/rules",
    ROOT / "alertmanager",
)
"""Where a path of the table of changes may begin."""
CHANGES = re.findall(
    r"^\| (.+?) \| (.+?) \| (.+?) \|$", PAGE.partition("\n## Where to change what\n")[2], re.MULTILINE
)[2:]


def paths(cell: str) -> list[str]:
    """Give what a cell names that looks like a path."""
    files = (".py", ".yml", ".toml")
    return [span for span in re.findall(r"`([\w./*-]+)`", cell) if "/" in span or span.endswith(files)]


def missing(cell: str) -> list[str]:
    """Give the paths that are not there; one without its folder is in a folder that was named before it."""
    folders = list(PLACES)
    gone = []
    for path in paths(cell):
        found = [each for place in folders for each in place.glob(path.rstrip("/"))]
        folders += [each if each.is_dir() else each.parent for each in found]
        gone += [] if found else [path]
    return gone


def test_there_are_more_than_ten_everyday_changes() -> None:
    assert len(CHANGES) > 10


@pytest.mark.parametrize(("change", "where", "proof"), CHANGES, ids=[change for change, *_ in CHANGES])
def test_a_change_names_files_that_are_there_and_how_to_prove_it(change: str, where: str, proof: str) -> None:
    assert paths(where), f"{change}: where?"
    assert paths(proof) or "bench" in proof or "test" in proof, f"{change}: how is it proved?"
    assert missing(where) + missing(proof) == []
