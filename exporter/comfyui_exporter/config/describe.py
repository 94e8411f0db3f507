"""Words for values that people typed: in error messages, on one line, bounded, without control characters."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST_SHOWN = 80


def printable(text: str) -> str:
    """Escapes every character that a terminal or a log would not show as itself, line breaks included."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii") for char in text
    )


def quoted(text: str) -> str:
    """The text in double quotes, cut after `LONGEST_SHOWN` characters."""
    shown = text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."
    return f'"{printable(shown)}"'


def found(value: object) -> str:
    """What stands there, for the sentence "expected X, found Y"."""
    match value:
        case None:
            words = "nothing"
        case bool():
            words = f"the boolean {str(value).lower()} (YAML reads yes, no, on and off as booleans too)"
        case int() if abs(value) > 10**LONGEST_SHOWN:
            words = "a very large number"
        case int() | float():
            words = f"the number {value}"
        case str():
            words = quoted(value)
        case list() | tuple():
            words = "a list"
        case dict():
            words = "a mapping of keys to values"
        case _:
            words = f"a {type(value).__name__}"
    return words


def listed(words: Iterable[str], last: str = "or") -> str:
    """`a, b or c`."""
    *head, tail = list(words)
    return f"{', '.join(head)} {last} {tail}" if head else tail


def dotted(path: Iterable[str | int]) -> str:
    """The way to a key as people write it: `servers[1].url`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = part.isidentifier() or part.replace("-", "_").isidentifier()
            name = part if plain and len(part) <= LONGEST_SHOWN else quoted(part)
            text += f".{name}" if text else name
    return text
