"""More servers from files in Prometheus file_sd format (JSON or YAML): a list of `{targets: [...], labels: {...}}`."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from comfyui_exporter.config.describe import found, quoted
from comfyui_exporter.config.errors import Problem
from comfyui_exporter.config.servers import ServerConfig

LARGEST_FILE = 8 << 20
"""Bytes; fifty thousand servers fit."""

_Stamp = tuple[int, int, int]


@dataclass(slots=True)
class _Read:
    stamp: _Stamp
    servers: tuple[ServerConfig, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(slots=True)
class ServerFiles:
    """The files of some patterns, read again when they change; touches the disk.

    A file that cannot be used keeps the servers that it had before, and is reported.
    """

    patterns: tuple[str, ...]
    _read: dict[str, _Read] = field(default_factory=dict)

    def read(self) -> tuple[tuple[ServerConfig, ...], tuple[Problem, ...]]:
        """Give the servers of all files, and what is wrong with some."""
        names = sorted({name for pattern in self.patterns for name in glob.glob(pattern)})  # noqa: PTH207  patterns may be absolute
        for gone in self._read.keys() - set(names):
            del self._read[gone]
        for name in names:
            self._look(name)
        reads = [self._read[name] for name in names]
        problems = tuple(problem for read in reads for problem in read.problems)
        return tuple(server for read in reads for server in read.servers), problems

    def _look(self, name: str) -> None:
        before = self._read.get(name)
        try:
            status = Path(name).stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if before is not None and before.stamp == stamp:
                return
            servers = tuple(read_servers(name))
        except OSError as error:
            problem = Problem(name, None, None, "", f"cannot be read: {error.strerror or error}")
            self._read[name] = _Read((0, 0, 0), before.servers if before else (), (problem,))
        except ValueError as error:
            problem = Problem(name, None, None, "", str(error))
            self._read[name] = _Read(stamp, before.servers if before else (), (problem,))
        else:
            self._read[name] = _Read(stamp, servers)


def read_servers(name: str) -> Iterator[ServerConfig]:
    """Read one file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not what it should be, and the text says where.
    """
    with Path(name).open("rb") as opened:
        content = opened.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        message = "is larger than 8 MiB"
        raise ValueError(message)
    groups = _parse(content, as_json=name.endswith(".json"))
    if not isinstance(groups, list):
        message = f"expected a list of groups such as `- targets: [gpu0:8188]`, found {found(groups)}"
        raise ValueError(message)
    for index, group in enumerate(groups):
        yield from _servers(f"[{index}]", group)


def _parse(content: bytes, *, as_json: bool) -> object:
    try:
        text = content.decode("utf-8-sig")
        if as_json:
            return json.loads(text)
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or []  # noqa: S506  a safe loader
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        line = f"line {place.line + 1}: " if place is not None else ""
        message = f"{line}is not valid {'JSON' if as_json else 'YAML'}"
        raise ValueError(message) from None


def _servers(where: str, group: object) -> Iterator[ServerConfig]:
    if not isinstance(group, dict) or not isinstance(group.get("targets"), list):
        message = f"{where}: expected `targets: [...]` and perhaps `labels: {{...}}`"
        raise ValueError(message)
    labels = group.get("labels") or {}
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        message = f"{where}.labels: expected names with texts"
        raise ValueError(message)
    targets: Sequence[object] = group["targets"]
    if "server" in labels and len(targets) != 1:
        message = f"{where}.labels.server: names one server, but there are {len(targets)} targets"
        raise ValueError(message)
    for place, target in enumerate(targets):
        yield _server(f"{where}.targets[{place}]", target, labels)


def _server(where: str, target: object, labels: dict[str, Any]) -> ServerConfig:
    if not isinstance(target, str) or not target:
        message = f"{where}: expected host:port or a URL, found {found(target)}"
        raise ValueError(message)
    scheme, prefix = labels.get("__scheme__", "http"), labels.get("__path_prefix__", "")
    url = target if "://" in target else f"{scheme}://{target}{prefix}"
    name = {"name": labels["server"]} if "server" in labels else {}
    try:
        return ServerConfig.model_validate({"url": url, **name})
    except ValidationError as error:
        reason = str(error.errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")
        message = f"{where}: {quoted(target) if '@' not in target else 'a URL'}: {reason}"
        raise ValueError(message) from None
