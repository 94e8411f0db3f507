"""Keys and flags that are accepted and checked, but on which this version does not act yet.

The one list of them: when the work arrives, its line goes. The exporter logs what is set in vain, so that nobody
believes in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # `--help` reads the lists, and is not to wait for the models.
    from pydantic import BaseModel

    from comfyui_exporter.config.model import Config

KEYS = (
    "server_files", "shard",
)  # fmt: skip
FLAGS = ("shard",)
"""Without those that are keys of the file under another name."""


def not_acting_yet(config: Config) -> tuple[str, ...]:
    """A sentence for each key of the list that differs from its default."""
    return tuple(
        f"{key} is set, but this version does not act on it yet"
        for path in KEYS
        for key in _changed(path, path.split("."), config, type(config)())
    )


def flags_not_acting_yet(given: Collection[str]) -> tuple[str, ...]:
    """A sentence for each flag of the list among those given, by flag or by variable."""
    return tuple(f"--{flag} is set, but this version does not act on it yet" for flag in FLAGS if flag in given)


def _changed(name: str, path: list[str], actual: BaseModel, default: BaseModel) -> Iterator[str]:
    value, usual = getattr(actual, path[0]), getattr(default, path[0])
    if len(path) > 1:
        yield from _changed(name, path[1:], value, usual)
    elif keys := getattr(type(value), "model_fields", {}):
        for key in keys:
            yield from _changed(f"{name}.{key}", [key], value, usual)
    elif value != usual:
        yield name
