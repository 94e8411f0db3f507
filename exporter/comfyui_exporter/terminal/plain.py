"""Text of strangers, made fit for a terminal: one line, no control characters, and no wider than it may be."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

CUT = "…"
UNSHOWN = "\N{REPLACEMENT CHARACTER}"
"""Stands for what a terminal would obey instead of showing: escapes, direction overrides, what nobody can see."""

LONGEST_NAME = 80
"""Characters."""

_MOST_MARKS = 2
"""Accents on one character. Languages get by with these; a tower of them reaches into the lines around."""


def plain(text: object, longest: int = LONGEST_NAME) -> str:
    """One line of at most so many characters; white space of any kind becomes a space."""
    # Of what is far too long, the rest is not even looked at.
    given = str(text)[: 4 * longest + 16]
    shown = " ".join("".join(_shown(given)).split())
    return shown if len(shown) <= longest else shown[: longest - 1].rstrip() + CUT


def lines(text: str, most: int = 20, longest: int = 500) -> list[str]:
    """The lines of a message, each made fit, and of very many the first."""
    found = text[: most * longest * 2].strip().splitlines()
    shown = [_indented(line, longest) for line in found[:most]]
    return shown if len(found) <= most else [*shown, f"{CUT} {len(found) - most} more lines"]


def width(text: str) -> int:
    """How many cells of a terminal a text takes that was made fit."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def cut(text: str, cells: int) -> str:
    """The text, no wider than so many cells."""
    if width(text) <= cells:
        return text
    taken, kept = 0, ""
    for char in text:
        taken += _cells(char)
        if taken > cells - 1:
            break
        kept += char
    return kept + CUT if cells > 0 else ""


def padded(text: str, cells: int, *, right: bool = False) -> str:
    """The text, exactly so many cells wide."""
    shown = cut(text, cells)
    space = " " * (cells - width(shown))
    return space + shown if right else shown + space


def _shown(text: str) -> Iterator[str]:
    marks = 0
    for char in unicodedata.normalize("NFC", text):
        marks = marks + 1 if unicodedata.category(char) in {"Mn", "Me"} else 0
        if marks > _MOST_MARKS:
            continue
        if char.isspace():
            yield " "
        else:
            yield char if char.isprintable() else UNSHOWN


def _indented(line: str, longest: int) -> str:
    """Like `plain`, but of a traceback the indentation stays."""
    indentation = len(line) - len(line.lstrip(" "))
    return " " * min(indentation, 20) + plain(line, longest)


def _cells(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1
