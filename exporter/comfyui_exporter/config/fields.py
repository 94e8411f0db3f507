"""The kinds of values that configuration keys hold. Each knows what it allows, for its errors and for the reference."""

from __future__ import annotations

import glob
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from comfyui_exporter.config import rules
from comfyui_exporter.config.describe import found
from comfyui_exporter.config.rules import Shard
from comfyui_exporter.config.units import format_duration, format_size, parse_duration, parse_size


@dataclass(frozen=True, slots=True)
class FileContext:
    """Given to pydantic when values come from a file: text rules apply, and relative paths start at its folder."""

    folder: Path


class _Kind:
    """Lets a value in `Annotated[...]` do the whole validation of the field."""

    __slots__ = ()

    def check(self, value: object) -> Any:
        """The value as the program wants it; raises ValueError otherwise."""
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)


class _KindInFile:
    """The same for kinds to which it matters whether a value comes from a file, and from which."""

    __slots__ = ()

    def check(self, value: object, info: ValidationInfo) -> Any:
        """The value as the program wants it; raises ValueError otherwise."""
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self.check)


@dataclass(frozen=True, slots=True)
class DurationRange(_KindInFile):
    """Seconds between two bounds; from a file it has to be written with its unit."""

    low: float
    high: float
    zero: bool = False
    """Whether 0 is allowed although it is below `low`."""

    @property
    def allowed(self) -> str:
        """The range in words."""
        text = f"{format_duration(self.low)} to {format_duration(self.high)}"
        return f"0, or {text}" if self.zero else text

    def parse(self, text: str) -> float:
        """Seconds of what was written; raises ValueError for anything else or out of range."""
        try:
            seconds = parse_duration(text)
        except ValueError as error:
            message = f"{error}; allowed: {self.allowed}"
            raise ValueError(message) from None
        return self._bounded(seconds, found(text))

    def check(self, value: object, info: ValidationInfo) -> float:
        """Seconds; programs may give a number, files may not (save 0)."""
        if isinstance(value, str):
            return self.parse(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            if info.context is None or value == 0:
                return self._bounded(float(value), found(value))
            return self.parse(str(value))
        message = (
            f"expected a duration such as {format_duration(self.low)}, found {found(value)}; allowed: {self.allowed}"
        )
        raise ValueError(message)

    def _bounded(self, seconds: float, what: str) -> float:
        if self.low <= seconds <= self.high or (self.zero and seconds == 0):
            return seconds
        message = f"found {what}; allowed: {self.allowed}"
        raise ValueError(message)


@dataclass(frozen=True, slots=True)
class SizeRange(_Kind):
    """Bytes between two bounds."""

    low: int
    high: int

    @property
    def allowed(self) -> str:
        """The range in words."""
        return f"{format_size(self.low)} to {format_size(self.high)}"

    def check(self, value: object) -> int:
        """Bytes of a whole number, or of text with a unit."""
        size = parse_size(value) if isinstance(value, str) else value
        if isinstance(size, bool) or not isinstance(size, int) or not self.low <= size <= self.high:
            message = f"expected a size such as 256MiB, found {found(value)}; allowed: {self.allowed}"
            raise ValueError(message)
        return size


@dataclass(frozen=True, slots=True)
class WholeNumber(_Kind):
    """An integer between two bounds."""

    low: int
    high: int

    @property
    def allowed(self) -> str:
        """The range in words."""
        return f"{self.low} to {self.high}"

    def check(self, value: object) -> int:
        """The number; booleans, fractions and text are none."""
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            message = f"expected a whole number, found {found(value)}; allowed: {self.allowed}"
            raise ValueError(message)
        return value


@dataclass(frozen=True, slots=True)
class Text(_Kind):
    """Text that obeys a rule of `rules.py`."""

    allowed: str
    rule: Callable[[str], object]

    def check(self, value: object) -> Any:
        """What the rule makes of the text."""
        if not isinstance(value, str):
            quotes = "; put it in quotes" if isinstance(value, bool | int | float) else ""
            message = f"expected text, found {found(value)}{quotes}"
            raise ValueError(message)
        return self.rule(value)


@dataclass(frozen=True, slots=True)
class ShardText(_Kind):
    """`i/n`, or the parsed `Shard` itself."""

    allowed: str = "i/n with 0 <= i < n"

    def check(self, value: object) -> Shard:
        """The share."""
        if isinstance(value, Shard):
            return value
        if not isinstance(value, str):
            message = f'expected {self.allowed} such as "0/2", found {found(value)}'
            raise ValueError(message)
        return rules.shard(value)


@dataclass(frozen=True, slots=True)
class FileName(_KindInFile):
    """A path; relative ones start at the folder of the configuration file."""

    allowed: str = "path of a file"

    def check(self, value: object, info: ValidationInfo) -> Path:
        """The path, not yet whether there is such a file."""
        if isinstance(value, Path):
            return value
        if not isinstance(value, str) or not value or "\0" in value:
            message = f"expected the {self.allowed}, found {found(value)}"
            raise ValueError(message)
        return info.context.folder / value if isinstance(info.context, FileContext) else Path(value)


@dataclass(frozen=True, slots=True)
class FilePattern(_KindInFile):
    """A glob pattern of files; relative ones start at the folder of the configuration file."""

    allowed: str = "path that ends in .yml, .yaml or .json, with * in its last part at will"

    def check(self, value: object, info: ValidationInfo) -> str:
        """The pattern as the glob module takes it."""
        if not isinstance(value, str) or not value.endswith((".yml", ".yaml", ".json")) or "\0" in value:
            message = f"expected a {self.allowed}, found {found(value)}"
            raise ValueError(message)
        # A folder's own name may hold characters that glob would take for wildcards.
        start = glob.escape(str(info.context.folder)) if isinstance(info.context, FileContext) else ""
        return str(PurePath(start, value)) if start else value


@dataclass(frozen=True, slots=True)
class Boundaries(_Kind):
    """Upper bounds of histogram buckets."""

    allowed: str = "strictly increasing numbers above 0"

    def check(self, value: object) -> tuple[float, ...]:
        """The bounds as floats."""
        return rules.boundaries(value)


HttpUrl = Annotated[str, Text("http:// or https:// URL", rules.http_url)]
File = Annotated[Path, FileName()]
