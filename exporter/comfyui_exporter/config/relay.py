"""What `relay` needs: its flags and variables, checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from comfyui_exporter.config import addresses, rules
from comfyui_exporter.config.addresses import Address
from comfyui_exporter.config.describe import quoted
from comfyui_exporter.config.errors import ConfigError, Problem
from comfyui_exporter.config.flags import Flag
from comfyui_exporter.config.given import Given
from comfyui_exporter.config.relay_flags import RELAY_FLAGS
from comfyui_exporter.config.secret_files import read_secret

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """All that was decided outside a relay, checked."""

    upstream: str
    """A ws or wss URL."""
    upstream_token_file: Path | None
    listen_address: Address
    max_clients: int
    queue_size: int
    allowed_origins: tuple[str, ...]
    token_file: Path | None
    log_level: str
    log_format: str


def resolve_relay(flags: Mapping[str, Sequence[str]], environ: Mapping[str, str]) -> RelaySettings:
    """Merges flags (by name without dashes, with the values given) and environment; a flag beats its variable.

    Raises:
        ConfigError: with all problems.
    """
    problems: list[Problem] = []
    given = {flag.name: tuple(_given(flag, flags.get(flag.name, ()), environ)) for flag in RELAY_FLAGS}

    def one(name: str, rule: Callable[[str], T], default: T) -> T:
        return next(iter(_each(given[name][-1:], rule, problems)), default)

    # No path names an upstream; the message of its absence is the one that counts.
    upstream = one("upstream", upstream_url, "")
    if not given["upstream"]:
        problems.append(Given("--upstream", "").problem("is needed: the push service to relay, such as ws://HOST:8329"))
    settings = RelaySettings(
        upstream=upstream,
        upstream_token_file=one("upstream.token-file", _secret_file, None),
        listen_address=one("push.listen-address", addresses.listen_address, ("127.0.0.1", 8329)),
        max_clients=one("push.max-clients", _number(1, 1_000_000), 10_000),
        queue_size=one("push.queue-size", _number(1, 65_536), 64),
        allowed_origins=tuple(_each(given["push.allowed-origins"], rules.origin, problems)),
        token_file=one("push.token-file", _secret_file, None),
        log_level=one("log.level", rules.log_level, "info"),
        log_format=one("log.format", rules.log_format, "logfmt"),
    )
    if problems:
        raise ConfigError(problems)
    return settings


def upstream_url(text: str) -> str:
    """A ws or wss URL; http and https are taken for them."""
    scheme, slashes, rest = text.partition("://")
    meant = {"ws": "http", "wss": "https", "http": "http", "https": "https"}.get(scheme)
    if not slashes or meant is None:
        message = f"found {quoted(text)}; allowed: ws://HOST:PORT or wss://HOST:PORT"
        raise ValueError(message)
    try:
        url = rules.http_url(f"{meant}://{rest}")
    except ValueError as error:
        message = str(error).replace("put them into basic_auth: {username, password_file} or bearer_token_file",
                                     "put a token into --upstream.token-file")  # fmt: skip
        raise ValueError(message) from None
    return f"ws{url.removeprefix('http')}"


def _given(flag: Flag, typed: Sequence[str], environ: Mapping[str, str]) -> Iterator[Given]:
    values = [Given(f"--{flag.name}", text) for text in typed if text.strip()]
    if not values and (text := environ.get(flag.variable, "").strip()):
        values = [Given(flag.variable, text)]
    for value in values:
        parts = re.split(r"[\s,]+", value.text) if flag.repeatable else [value.text]
        yield from (Given(value.origin, part) for part in parts if part)


def _number(low: int, high: int) -> Callable[[str], int]:
    def rule(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            message = f"found {quoted(text)}; allowed: a whole number, {low} to {high}"
            raise ValueError(message)
        return int(text)

    return rule


def _secret_file(text: str) -> Path | None:
    path = Path(text)
    try:
        read_secret(path)
    except OSError as error:
        message = f"{quoted(text)} cannot be read: {error.strerror or error}"
        raise ValueError(message) from None
    except ValueError as error:
        message = f"{quoted(text)} cannot be used: {error}"
        raise ValueError(message) from None
    return path


def _each(values: Sequence[Given], rule: Callable[[str], T], problems: list[Problem]) -> Iterator[T]:
    for value in values:
        try:
            yield rule(value.text)
        except ValueError as error:
            problems.append(value.problem(str(error)))
