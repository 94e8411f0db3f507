"""The names in a PromQL expression that promtool has found to be valid: metrics, and the labels that are asked of them.

A valid expression needs no grammar for this. Without strings and braces, each word is a keyword, a function, a label
in the list of a grouping, a number, or a metric; so a name that we forgot is taken for a metric and not passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_COMMENT = re.compile(r"#[^\n]*")
_GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)?\s*\{([^{}]*)\}")
_MATCHER = re.compile(r"(\w+)\s*(=~|!~|!=|=)\s*<(\d+)>")
_REPLACED = re.compile(r",\s*<(\d+)>(?:\s*,\s*<\d+>){3}\s*\)")
_RANGE = re.compile(r"\[[^\]]*\]|\boffset\s+-?\w+")
_WORD = re.compile(r"(?<![\w.:])[a-zA-Z_:][\w:]*")
_KEYWORDS = {"and", "or", "unless", "bool", "by", "without", "on", "ignoring", "group_left", "group_right", "offset"}
_FUNCTIONS = {
    "absent", "avg", "avg_over_time", "changes", "clamp_max", "clamp_min", "count", "count_over_time", "deriv", "end",
    "floor", "histogram_quantile", "increase", "label_replace", "max", "max_over_time", "min", "min_over_time",
    "predict_linear", "present_over_time", "rate", "round", "scalar", "sort_desc", "sum", "sum_over_time", "time",
    "timestamp", "topk", "vector",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition of a selector."""

    label: str
    operator: str
    value: str


@dataclass(slots=True)
class Names:
    """What an expression names."""

    metrics: set[str] = field(default_factory=set)
    selectors: list[tuple[str, tuple[Matcher, ...]]] = field(default_factory=list)
    """A metric (empty: chosen by a matcher) and the conditions on its labels."""
    grouped: set[str] = field(default_factory=set)
    """Labels in by, on and their like."""
    made: set[str] = field(default_factory=set)
    """Labels that label_replace writes."""


def names_of(expression: str) -> Names:
    """Read the names out of an expression."""
    names = Names()
    strings: list[str] = []

    def keep(found: re.Match[str]) -> str:
        strings.append(found[1])
        return f"<{len(strings) - 1}>"

    text = _COMMENT.sub("", _STRING.sub(keep, expression))
    names.made = {strings[int(i)] for i in _REPLACED.findall(text)}
    for found in _GROUPING.finditer(text):
        names.grouped |= set(_WORD.findall(found[2]))
    text = _GROUPING.sub(" ", text)
    for found in _SELECTOR.finditer(text):
        matchers = tuple(Matcher(label, operator, strings[int(i)]) for label, operator, i in _MATCHER.findall(found[2]))
        names.selectors.append((found[1] or "", matchers))
    text = _RANGE.sub(" ", re.sub(r"\{[^{}]*\}", " ", text))
    names.metrics = set(_words(re.sub(r"<\d+>", " ", text)))
    return names


def _words(text: str) -> Iterator[str]:
    for found in _WORD.finditer(text):
        called = text[found.end() :].lstrip().startswith("(")
        if found[0] not in _KEYWORDS and not (called or found[0] in _FUNCTIONS):
            yield found[0]
        elif called and found[0] not in _KEYWORDS:
            assert found[0] in _FUNCTIONS, f"{found[0]} is a function that tests do not know yet"
