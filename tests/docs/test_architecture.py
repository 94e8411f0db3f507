"""The page about the architecture names what is there."""

from __future__ import annotations

import re
import tomllib

from docs.pages import ROOT

PACKAGE = ROOT / "exporter/comfyui_exporter"
PAGE = (ROOT / "docs/architecture.md").read_text()


def test_every_module_that_is_named_exists() -> None:
    folders = (PACKAGE, ROOT / "tests", ROOT / "grafana/src")
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
