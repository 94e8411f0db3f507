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
from comfyui_exporter.config.secret_files import (
    check_authorities,
    check_certificate,
    read_secret,
    read_user_and_password,
)
from comfyui_exporter.config.web_config import protection_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """All that was decided outside a relay, checked."""

    upstream: str
    """A ws or wss URL."""
    upstream_token_file: Path | None
    upstream_basic_auth_file: Path | None
    upstream_ca_file: Path | None
    upstream_cert_file: Path | None
    upstream_key_file: Path | None
    web_config_file: Path | None
    listen_address: Address
    max_clients: int
    queue_size: int
    allowed_origins: tuple[str, ...]
    token_file: Path | None
    log_level: str
    log_format: str
    warnings: tuple[str, ...]
    """Sentences for the log."""


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
    web_config_file = one("web.config.file", rules.readable_file, None)
    protection = protection_of(web_config_file, problems)
    certificate = one("upstream.cert-file", _path, None)
    key = one("upstream.key-file", _path, None)
    problems += _upstream_problems(given, certificate, key)
    settings = RelaySettings(
        upstream=upstream,
        upstream_token_file=one("upstream.token-file", _checked(read_secret), None),
        upstream_basic_auth_file=one("upstream.basic-auth-file", _checked(read_user_and_password), None),
        upstream_ca_file=one("upstream.ca-file", _checked(check_authorities), None),
        upstream_cert_file=certificate,
        upstream_key_file=key,
        web_config_file=web_config_file,
        listen_address=one("push.listen-address", addresses.listen_address, ("127.0.0.1", 8329)),
        max_clients=one("push.max-clients", _number(1, 1_000_000), 10_000),
        queue_size=one("push.queue-size", _number(1, 65_536), 64),
        allowed_origins=tuple(_each(given["push.allowed-origins"], rules.origin, problems)),
        token_file=one("push.token-file", _checked(read_secret), None),
        log_level=one("log.level", rules.log_level, "info"),
        log_format=one("log.format", rules.log_format, "logfmt"),
        warnings=protection.warnings,
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
                                     "put them into --upstream.basic-auth-file or --upstream.token-file")  # fmt: skip
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


def _path(text: str) -> Path:
    return Path(text)


def _checked(read: Callable[[Path], object]) -> Callable[[str], Path | None]:
    """A rule: a file that can be read so."""

    def rule(text: str) -> Path | None:
        path = Path(text)
        try:
            read(path)
        except OSError as error:
            message = f"{quoted(text)} cannot be read: {error.strerror or error}"
            raise ValueError(message) from None
        except ValueError as error:
            message = f"{quoted(text)} cannot be used: {error}"
            raise ValueError(message) from None
        return path

    return rule


def _upstream_problems(
    given: Mapping[str, Sequence[Given]], certificate: Path | None, key: Path | None
) -> Iterator[Problem]:
    """What is wrong with files that belong together."""
    for basic_auth in given["upstream.basic-auth-file"][-1:]:
        if given["upstream.token-file"]:
            yield basic_auth.problem("cannot be used together with --upstream.token-file")
    for one in given["upstream.key-file"][-1:]:
        if certificate is None:
            yield one.problem("needs --upstream.cert-file")
    for one in given["upstream.cert-file"][-1:]:
        try:
            check_certificate(Path(one.text), key)
        except OSError as error:
            yield one.problem(f"{quoted(error.filename or one.text)} cannot be read: {error.strerror or error}")
        except ValueError as error:
            yield one.problem(f"{quoted(one.text)} cannot be used: {error}")


def _each(values: Sequence[Given], rule: Callable[[str], T], problems: list[Problem]) -> Iterator[T]:
    for value in values:
        try:
            yield rule(value.text)
        except ValueError as error:
            problems.append(value.problem(str(error)))
