"""Writes the rules of prometheus/rules/ as PrometheusRules of the Prometheus Operator: as they are, and for pairs.

    python scripts/kubernetes_rules.py [FOLDER]

The exporters of a pair watch the same servers and differ in the label `replica` alone. What is read of them is made one
series by the larger value, before anything is added up.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "prometheus/rules"
TARGET = ROOT / "deploy/kubernetes/components"
PLAIN, PAIRS = "prometheus-operator", "ha"
HEAD = """\
# Written by `make kubernetes` from prometheus/rules/{name}.yml{how}. Do not edit.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: comfyui-exporter
spec:
"""

_TOKEN = re.compile(
    r"""
      (?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<name>[a-zA-Z_:][\w:]*)
    | (?P<labels>\{(?:[^{}"']|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')*\})
    | (?P<range>\[[^\]]*\])
    | (?P<space>(?:\s|\#[^\n]*)+)
    | (?P<other>[\d.]+\w*|.)
    """,
    re.VERBOSE,
)
_SCRAPED = re.compile(r"comfyui_\w+|up|scrape_\w+")
"""Names of series that come from exporters, and so twice from a pair. Recorded ones have colons."""
_GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
"""What a list of labels follows."""
_LARGER = "max without (replica) ({})"


def take_larger(expression: str) -> str:
    """The same expression, reading the larger value of each pair.

    Raises:
        ValueError: an expression of a form that this does not know.
    """
    tokens = [(match.lastgroup or "", match[0]) for match in _TOKEN.finditer(expression)]
    written: list[str] = []
    place = 0
    while place < len(tokens):
        kind, text = tokens[place]
        if text in _GROUPING and _follows(tokens, place + 1) == "(":
            end = next(at for at in range(place, len(tokens)) if tokens[at][1] == ")") + 1
            written += [text for _, text in tokens[place:end]]
            place = end
            continue
        if kind != "name" or not _SCRAPED.fullmatch(text) or _follows(tokens, place + 1) == "(":
            written.append(text)
            place += 1
            continue
        end, is_range = _selector(tokens, place)
        selector = "".join(text for _, text in tokens[place:end])
        if not is_range:
            written.append(_LARGER.format(selector))
            place = end
            continue
        # A range is what a function is given: its answer is what can be compared.
        if len(written) < 2 or written[-1] != "(" or not re.fullmatch(r"[a-z_]+", written[-2]) or tokens[end][1] != ")":
            message = f"not the only argument of a function: {selector}"
            raise ValueError(message)
        written[-2:] = [_LARGER.format(f"{written[-2]}({selector})")]
        place = end + 1
    return "".join(written)


def _selector(tokens: list[tuple[str, str]], start: int) -> tuple[int, bool]:
    """Where the selector that begins there ends, and whether it is a range."""
    end, is_range = start + 1, False
    if end < len(tokens) and tokens[end][0] == "labels":
        end += 1
    if end < len(tokens) and tokens[end][0] == "range":
        end, is_range = end + 1, True
    if [text for _, text in tokens[end + 1 : end + 2]] == ["offset"]:
        end += 4
    return end, is_range


def _follows(tokens: list[tuple[str, str]], place: int) -> str:
    return next((text for kind, text in tokens[place:] if kind != "space"), "")


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def for_pairs(rules: dict[str, Any]) -> dict[str, Any]:
    """The groups of a file with expressions that read the larger value of each pair."""
    return {
        "groups": [
            {**group, "rules": [{**rule, "expr": take_larger(str(rule["expr"]))} for rule in group["rules"]]}
            for group in rules["groups"]
        ]
    }


def written() -> Iterator[tuple[str, str]]:
    """Each file, by its path below TARGET, and what is to stand in it."""
    for file in sorted(SOURCE.glob("*.yml")):
        text = file.read_text()
        yield f"{PLAIN}/rules/{file.stem}.yaml", HEAD.format(name=file.stem, how="") + textwrap.indent(text, "  ")
        pairs = yaml.dump(for_pairs(yaml.safe_load(text)), Dumper=_Dumper, sort_keys=False, width=120)
        head = HEAD.format(name=file.stem, how=" for pairs of exporters")
        yield f"{PAIRS}/rules/{file.stem}.yaml", head + textwrap.indent(pairs, "  ")


def main(target: Path = TARGET) -> None:
    """Write all files."""
    for path, text in written():
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
