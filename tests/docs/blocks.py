"""What the pages show as code: every block of every page, and the commands in it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from docs.pages import PAGES, ROOT

SHELLS = {"sh", "bash", "shell", "console"}
PAGES_WITH_COMMANDS = (*PAGES, ROOT / "examples/fastapi_app/README.md")
_ASSIGNMENT = re.compile(r"(?:[A-Z_]+=\S*\s+)*")


@dataclass(frozen=True, slots=True)
class Block:
    """Some code of a page: fenced, or a paragraph that is indented."""

    page: str
    line: int
    """Where it begins, from 1."""
    language: str
    """As the fence says; empty for an indented one."""
    text: str

    def __str__(self) -> str:
        """Name it as editors do."""
        return f"{self.page}:{self.line}"

    @property
    def first_word(self) -> str:
        """The program, if it is a command."""
        return program(self.text)


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a block."""

    block: Block
    line: int
    text: str

    def __str__(self) -> str:
        """Name it as editors do."""
        return f"{self.block.page}:{self.line}"

    @property
    def words(self) -> list[str]:
        """Its words without the assignments before the program, as a shell reads them."""
        return shlex.split(_ASSIGNMENT.sub("", self.text, count=1), comments=True)


def program(text: str) -> str:
    """Give the program that a command runs, without its folder."""
    found = re.match(r"[\w./-]+", _ASSIGNMENT.sub("", text.strip(), count=1))
    return Path(found[0]).name if found else ""


def blocks(page: Path) -> list[Block]:
    """Find all blocks of a page; blank lines divide what is indented."""
    name = str(page.relative_to(ROOT))
    found: list[Block] = []
    fence: str | None = None
    kept: list[str] = []
    begin = 0
    before = ""
    for number, line in enumerate([*page.read_text().splitlines(), ""], start=1):
        if fence is not None:
            if line.startswith("```"):
                found.append(Block(name, begin, fence, "\n".join(kept) + "\n"))
                fence, kept = None, []
            else:
                kept.append(line)
        elif line.startswith("```"):
            fence, begin = line[3:].strip(), number + 1
        elif line.startswith("    ") and (kept or not before.strip()):
            begin = begin if kept else number
            kept.append(line[4:])
        elif kept:
            found.append(Block(name, begin, "", "\n".join(kept) + "\n"))
            kept = []
        before = line
    return found


def commands(block: Block) -> list[Command]:
    """Divide a block of a shell into its commands: quotes and backslashes go on over lines."""
    found: list[Command] = []
    begun = ""
    begin = block.line
    for number, line in enumerate(block.text.splitlines(), start=block.line):
        begun, begin = (f"{begun}\n{line}", begin) if begun else (line, number)
        if not begun.strip():
            begun = ""
        elif not begun.endswith("\\") and _is_whole(begun):
            found.append(Command(block, begin, begun))
            begun = ""
    assert not begun, f"{block}: a command has no end: {begun}"
    return found


def _is_whole(text: str) -> bool:
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return True


ALL = [block for page in PAGES_WITH_COMMANDS for block in blocks(page)]
