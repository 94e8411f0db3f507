"""Contradictions between keys that are fine one by one. Works on plain data, also where other keys are wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from comfyui_exporter.config.describe import dotted, quoted
from comfyui_exporter.config.rules import default_name, http_url


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A key that does not go together with another one."""

    path: tuple[str | int, ...]
    message: str


def contradictions(data: Mapping[str, object]) -> Iterator[Contradiction]:
    """All of them; whatever has the wrong type is passed over, as its own field reports it."""
    yield from _repeated(data, "servers", server_name, "server name", "give one of them another `name`")
    yield from _repeated(data, "failure_patterns", _pattern, "pattern", "join the two with | in one regex")
    yield from _repeated(data, "job_labels", _text, "label", "leave one out")
    yield from _repeated(data, "webhooks", _url, "URL", "list all of its statuses there")
    for index, server in enumerate(_items(data, "servers")):
        if isinstance(server, Mapping):
            for path, message in _of_server(server):
                yield Contradiction(("servers", index, *path), message)


def server_name(server: object) -> str | None:
    """The name a server has or gets by default; None where neither can be told."""
    if not isinstance(server, Mapping):
        return None
    name, url = server.get("name"), server.get("url")
    if name is not None or not isinstance(url, str):
        return name if isinstance(name, str) else None
    try:
        return default_name(http_url(url))
    except ValueError:
        return None


def _of_server(server: Mapping[str, object]) -> Iterator[tuple[tuple[str, ...], str]]:
    if "basic_auth" in server and "bearer_token_file" in server:
        yield (
            ("bearer_token_file",),
            "does not go together with basic_auth: both set the header Authorization; keep one",
        )
    tls, url = server.get("tls"), server.get("url")
    if tls is not None and isinstance(url, str) and url.lower().startswith("http://"):
        yield ("tls",), "has no effect on an http:// URL; write https:// in `url`, or leave tls out"
    if isinstance(tls, Mapping) and "key_file" in tls and "cert_file" not in tls:
        yield ("tls", "key_file"), "needs cert_file, the certificate that belongs to the key"


def _repeated(
    data: Mapping[str, object], key: str, name_of: Callable[[object], str | None], what: str, advice: str
) -> Iterator[Contradiction]:
    first: dict[str, int] = {}
    for index, item in enumerate(_items(data, key)):
        name = name_of(item)
        if name is None:
            continue
        if name in first:
            taken = dotted((key, first[name]))
            default = (
                " (by default host:port)"
                if isinstance(item, Mapping) and key == "servers" and "name" not in item
                else ""
            )
            yield Contradiction((key, index), f"{what} {quoted(name)}{default} is taken by {taken}; {advice}")
        first.setdefault(name, index)


def _items(data: Mapping[str, object], key: str) -> list[object]:
    value = data.get(key)
    return list(value) if isinstance(value, list | tuple) else []


def _pattern(item: object) -> str | None:
    return _text(item.get("pattern")) if isinstance(item, Mapping) else None


def _url(item: object) -> str | None:
    return _text(item.get("url")) if isinstance(item, Mapping) else None


def _text(item: object) -> str | None:
    return item if isinstance(item, str) else None
