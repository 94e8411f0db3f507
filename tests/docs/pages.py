"""The project's pages, and what tests look for in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^ {4}.*$", re.MULTILINE)
_CODE_SPAN = re.compile(r"`[^`\n]+`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_ROW = re.compile(r"^\|.*\|$", re.MULTILINE)


def fenced(text: str, language: str) -> list[str]:
    """Give the code blocks of one language."""
    return [block for name, block in _FENCE.findall(text) if name == language]


def links(text: str) -> list[str]:
    """Give the targets of all links, those shown in code apart."""
    prose = _CODE_SPAN.sub("", _INDENTED.sub("", _FENCE.sub("", text)))
    return _LINK.findall(prose)


def inline(text: str) -> list[str]:
    """Give what stands in code within sentences; lines that are broken are one."""
    prose = _INDENTED.sub("", _FENCE.sub("", text))
    return [" ".join(span.strip("`").split()) for span in re.findall(r"`[^`]+`", prose)]


def anchors(text: str) -> set[str]:
    """Give the anchors that GitHub makes of the headings."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        words = re.sub(r"[^\w\- ]", "", _LINK.sub(lambda link: link[0].split("]")[0][1:], heading).lower())
        slug = base = words.replace(" ", "-")
        count = 0
        while slug in found:
            count += 1
            slug = f"{base}-{count}"
        found.add(slug)
    return found


def last_cells(text: str, first: str) -> Iterator[str]:
    """Give what stands in code in the last column of the table whose heading begins with `first`."""
    inside = False
    for line in text.splitlines():
        if not _ROW.match(line):
            inside = False
        elif line.startswith(f"| {first} |"):
            inside = True
        elif inside and "`" in (cell := re.split(r"(?<!\\)\|", line)[-2].strip()):
            yield cell.strip("`")
