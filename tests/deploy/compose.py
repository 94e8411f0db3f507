"""docker-compose.yml as it is read without a .env file, and without Docker."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "docker-compose.yml"
_VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::([-+])([^}]*))?\}")


def text(value: str, environ: dict[str, str] | None = None) -> str:
    """Fill in variables as Compose does."""

    def fill(match: re.Match[str]) -> str:
        name, operator, word = match.groups()
        given = (environ or {}).get(name, "")
        if operator == "+":
            return word if given else ""
        return given or word or ""

    return _VARIABLE.sub(fill, value).replace("$$", "$")


def variables() -> set[str]:
    """Give the variables that the file takes from .env, with and without a value of its own."""
    raw = FILE.read_text()
    passed = re.findall(r"^ +(COMFYUI_\w+):$", raw, re.MULTILINE)
    return {match[0] for match in _VARIABLE.findall(raw)} | set(passed)


def compose(environ: dict[str, str] | None = None) -> dict[str, Any]:
    """The file, filled in."""

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            return text(value, environ)
        if isinstance(value, list):
            return [filled(one) for one in value]
        if isinstance(value, dict):
            return {key: filled(one) for key, one in value.items()}
        return value

    whole: dict[str, Any] = filled(yaml.safe_load(FILE.read_text()))
    return whole


def services() -> dict[str, dict[str, Any]]:
    """Every service by its name."""
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found
