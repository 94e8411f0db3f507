"""More servers from files in Prometheus file_sd format (JSON or YAML): a list of `{targets: [...], labels: {...}}`."""

from __future__ import annotations

import glob
import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from comfyui_exporter.config.describe import found, quoted
from comfyui_exporter.config.errors import Problem
from comfyui_exporter.config.model import Config
from comfyui_exporter.config.servers import ServerConfig

LARGEST_FILE = 8 << 20
"""Bytes; fifty thousand servers fit."""

MOST_SERVERS = 50_000
"""In one file. A few aliases of YAML make billions of a small file."""

DEEPEST_YAML = 32
"""Levels; a list of mappings of lists has three."""

_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Read:
    stamp: _Stamp | None
    """None: to be read again, whatever it looks like."""
    servers: tuple[ServerConfig, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(slots=True)
class ServerFiles:
    """The files of some patterns, read again when they change; touches the disk.

    A file that cannot be used keeps the servers that it had before, and is reported.
    """

    patterns: tuple[str, ...]
    _read: dict[str, _Read] = field(default_factory=dict)

    def of(self, patterns: tuple[str, ...]) -> ServerFiles:
        """Give the files of these patterns, which go on from what is known of them; a copy."""
        return ServerFiles(patterns, dict(self._read))

    def read(self, *, anew: bool = False) -> tuple[tuple[ServerConfig, ...], tuple[Problem, ...]]:
        """Give the servers of all files, and what is wrong with some. `anew`: read those too that look unchanged."""
        names = {name for pattern in self.patterns for name in glob.glob(pattern)}  # noqa: PTH207  patterns may be absolute
        # A pattern that could not be followed to the end finds nothing, which does not mean that there is nothing.
        names.update(name for name in self._read if self._is_ours(name) and not _is_gone(name))
        for gone in self._read.keys() - names:
            del self._read[gone]
        for name in sorted(names):
            self._look(name, anew=anew)
        reads = [self._read[name] for name in sorted(names)]
        problems = tuple(problem for read in reads for problem in read.problems)
        return tuple(server for read in reads for server in read.servers), problems

    def _is_ours(self, name: str) -> bool:
        return any(Path(name).match(pattern) for pattern in self.patterns)

    def _look(self, name: str, *, anew: bool) -> None:
        before = self._read.get(name, _Read(None))
        try:
            status = Path(name).stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if before.stamp == stamp and not anew:
                return
            self._read[name] = _Read(stamp, tuple(read_servers(name)))
        except OSError as error:
            self._keep(name, replace(before, stamp=None), f"cannot be read: {error.strerror or error}")
        except ValueError as error:
            self._keep(name, replace(before, stamp=stamp), str(error))

    def _keep(self, name: str, before: _Read, message: str) -> None:
        self._read[name] = replace(before, problems=(Problem(name, None, None, "", message),))


def together(
    own: Sequence[ServerConfig], others: Sequence[ServerConfig]
) -> tuple[tuple[ServerConfig, ...], tuple[Problem, ...]]:
    """Put servers and those of server files together; of two with one name the first counts."""
    found: dict[str, ServerConfig] = {}
    doubles: dict[str, Problem] = {}
    for server in (*own, *others):
        before = found.setdefault(server.name, server)
        if before is not server and before != server:
            message = f"server name {quoted(server.name)} is taken; give this one another by the label `server`"
            doubles[server.name] = Problem("", None, None, "server_files", message)
    return tuple(found.values()), tuple(doubles.values())


def with_server_files(config: Config) -> tuple[Config, tuple[Problem, ...]]:
    """Give a configuration with the servers of its files too, and what is wrong with these."""
    servers, problems = ServerFiles(config.server_files).read()
    servers, doubles = together(config.servers, servers)
    return config.with_servers(servers), (*problems, *doubles)


def _is_gone(name: str) -> bool:
    """Whether a file is not there, rather than out of reach for the moment."""
    try:
        Path(name).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def read_servers(name: str) -> Iterator[ServerConfig]:
    """Read one file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not what it should be, and the text says where.
    """
    groups = _parse(_content(name), as_json=name.endswith(".json"))
    if not isinstance(groups, list):
        message = f"expected a list of groups such as `- targets: [gpu0:8188]`, found {found(groups)}"
        raise ValueError(message)
    count = 0
    for index, group in enumerate(groups):
        for server in _servers(f"[{index}]", group):
            count += 1
            if count > MOST_SERVERS:
                message = f"has more than {MOST_SERVERS} servers"
                raise ValueError(message)
            yield server


def _content(name: str) -> bytes:
    with open(name, "rb", opener=_without_waiting) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            message = "is not a file"
            raise ValueError(message)
        content = opened.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        message = f"is larger than {LARGEST_FILE >> 20} MiB"
        raise ValueError(message)
    if not content.strip():
        # As long as it is being written. To stop watching for it would be worse than to wait.
        message = "is empty; write [] for no servers"
        raise ValueError(message)
    return content


def _without_waiting(name: str, flags: int) -> int:
    """Open a file; a pipe that nobody writes to would be waited for for good."""
    return os.open(name, flags | os.O_NONBLOCK)


class _Loader(yaml.BaseLoader):
    """Takes every scalar for text, as Prometheus does here, and knows no tags; refuses what would exhaust the stack."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > DEEPEST_YAML:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="nested too deep", problem_mark=mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def _parse(content: bytes, *, as_json: bool) -> object:
    try:
        text = content.decode("utf-8-sig")
        return json.loads(text) if as_json else yaml.load(text, Loader=_Loader)  # noqa: S506  a safe loader
    # PyYAML lets a few of Python's own errors through.
    except (ValueError, yaml.YAMLError, OverflowError, RecursionError, IndexError) as error:
        place = getattr(error, "problem_mark", None)
        number = getattr(error, "lineno", None) if place is None else place.line + 1
        line = f"line {number}: " if number is not None else ""
        message = f"{line}is not valid {'JSON' if as_json else 'YAML'}"
        raise ValueError(message) from None


def _servers(where: str, group: object) -> Iterator[ServerConfig]:
    if not isinstance(group, dict) or not isinstance(group.get("targets"), list):
        message = f"{where}: expected `targets: [...]` and perhaps `labels: {{...}}`"
        raise ValueError(message)
    labels = group.get("labels") or {}
    if not isinstance(labels, dict):
        message = f"{where}.labels: expected names with texts, found {found(labels)}"
        raise ValueError(message)
    for name in ("server", "__scheme__", "__path_prefix__"):
        if not isinstance(labels.get(name, ""), str):
            message = f"{where}.labels.{name}: expected text, found {found(labels[name])}"
            raise ValueError(message)
    targets: Sequence[object] = group["targets"]
    if "server" in labels and len(targets) > 1:
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
