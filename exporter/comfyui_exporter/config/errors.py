"""What is wrong with a configuration, and where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from comfyui_exporter.config.describe import printable


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to correct, in the words of the person who has to correct it."""

    file: str
    """The file as it was named; "" for a problem of a flag or an environment variable."""
    line: int | None
    """From 1; None where no line can be blamed, such as a file that is missing."""
    column: int | None
    """From 1; None together with `line`."""
    key: str
    """Dotted path such as `servers[1].url`, or the flag or variable by name; "" for the file as a whole."""
    message: str
    """What was found and what is allowed."""

    def __str__(self) -> str:
        """One line, `comfyui.yml:12:5: servers[1].url: ...`, whatever characters the file holds."""
        place = self.file
        if self.line is not None:
            place += f":{self.line}:{self.column}"
        return printable(": ".join(part for part in (place, self.key, self.message) if part))


class ConfigError(Exception):
    """The configuration cannot be used. Its text has one line for each problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
