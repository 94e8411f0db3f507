"""Reads the configuration file: a `Config`, or every problem of the file at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from comfyui_exporter.config import document as documents
from comfyui_exporter.config.consistency import Contradiction, contradictions
from comfyui_exporter.config.describe import found
from comfyui_exporter.config.document import Document, read_document
from comfyui_exporter.config.errors import ConfigError, Problem
from comfyui_exporter.config.fields import FileContext
from comfyui_exporter.config.messages import message_of
from comfyui_exporter.config.model import Config
from comfyui_exporter.config.secret_files import (
    check_authorities,
    check_certificate,
    read_headers,
    read_secret,
    read_webhook_secret,
)

M = TypeVar("M", bound=BaseModel)

LARGEST_FILE = 1 << 20
"""Bytes; ten thousand servers fit."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration together with the document it came from, which knows the line of each key."""

    config: Config
    document: Document


def load_config(path: Path | str) -> Config:
    """Reads and validates a file, not the files that it refers to (see `check_files`).

    Raises:
        ConfigError: the file cannot be read or is not valid; it names all problems.
    """
    return load(path).config


def load(path: Path | str) -> Loaded:
    """Like `load_config`, and keeps the places of keys for later checks."""
    return parse(read_content(path), os.fspath(path), Path(path).parent)


def read_content(path: Path | str) -> bytes:
    """The bytes of a file of configuration, at most a few more than `LARGEST_FILE`.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with Path(path).open("rb") as opened:
            return opened.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise ConfigError([Problem(os.fspath(path), None, None, "", f"cannot be read: {reason}")]) from None


def parse(content: bytes, file: str, folder: Path) -> Loaded:
    """Validates the content of a file. `file` is its name in messages, `folder` is where its relative paths start.

    Raises:
        ConfigError: it is not valid; it names all problems, by line.
    """
    return Loaded(*read_model(Config, content, file, folder, contradictions))


def read_model(
    model: type[M],
    content: bytes,
    file: str,
    folder: Path,
    contradicting: Callable[[Mapping[str, object]], Iterable[Contradiction]],
) -> tuple[M, Document]:
    """Like `parse`, for a file that `model` describes as a whole.

    Raises:
        ConfigError: it is not valid; it names all problems, by line.
    """
    if len(content) > LARGEST_FILE:
        raise ConfigError([Problem(file, None, None, "", "is larger than 1 MiB, which no configuration needs")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        message = f"is not UTF-8 text: byte 0x{content[error.start]:02x}"
        raise ConfigError([Problem(file, line, column, "", message)]) from None
    document = read_document(text, file)
    data = {} if document.data is None else document.data
    problems = list(document.problems)
    config = None
    if not isinstance(data, dict):
        example = "poll_interval: 2s" if model is Config else f"{next(iter(model.model_fields))}:"
        problems.append(document.problem((), f"expected keys such as `{example}`, found {found(data)}"))
    elif document.data is not None or not problems:
        problems += [document.problem(told.path, told.message) for told in contradicting(data)]
        try:
            config = model.model_validate(data, context=FileContext(folder))
        except ValidationError as error:
            problems += _problems_of(error, document, model)
    if problems or config is None:
        raise ConfigError(sorted(set(problems), key=_by_place))
    return config, document


def check_files(config: Config, document: Document | None = None) -> tuple[Problem, ...]:
    """What is wrong with the files that the configuration refers to; with its document, by line.

    Nothing of what they hold gets into a message.
    """
    places = document or Document("")
    problems = []
    for path, check in _file_checks(config):
        reason = ""
        try:
            check()
        except OSError as error:
            reason = f"cannot be read: {error.strerror or error}"
            if error.filename:
                reason = f"{error.filename} {reason}"
        except ValueError as error:
            reason = str(error)
        if reason:
            problem = places.problem(path, reason)
            problems.append(problem if document else Problem("", None, None, problem.key, reason))
    return tuple(problems)


def _file_checks(config: Config) -> Iterator[tuple[documents.Path, Callable[[], object]]]:
    """Each key that names a file, with what reads it as the exporter will."""
    for index, server in enumerate(config.servers):
        here: documents.Path = ("servers", index)
        if server.headers_file:
            yield (*here, "headers_file"), _call(read_headers, server.headers_file)
        if server.bearer_token_file:
            yield (*here, "bearer_token_file"), _call(read_secret, server.bearer_token_file)
        if server.basic_auth:
            yield (*here, "basic_auth", "password_file"), _call(read_secret, server.basic_auth.password_file)
        if server.tls and server.tls.ca_file:
            yield (*here, "tls", "ca_file"), _call(check_authorities, server.tls.ca_file)
        if server.tls and server.tls.cert_file:
            yield (*here, "tls", "cert_file"), _call(check_certificate, server.tls.cert_file, server.tls.key_file)
    if config.push.token_file:
        yield ("push", "token_file"), _call(read_secret, config.push.token_file)
    for index, webhook in enumerate(config.webhooks):
        if webhook.secret_file:
            yield ("webhooks", index, "secret_file"), _call(read_webhook_secret, webhook.secret_file)
    if config.registered_webhooks and config.registered_webhooks.secret_file:
        yield ("registered_webhooks", "secret_file"), _call(read_webhook_secret, config.registered_webhooks.secret_file)


def _call(check: Callable[..., object], *files: Path | None) -> Callable[[], object]:
    return lambda: check(*files)


def _problems_of(error: ValidationError, document: Document, model: type[BaseModel]) -> Iterator[Problem]:
    unreadable = {(problem.line, problem.column) for problem in document.problems}
    for details in error.errors(include_url=False):
        path = details["loc"]
        # A value that was already reported as unreadable is absent from the data, not from the file.
        if details["type"] == "missing" and path in document.places and _is_near(document.place(path), unreadable):
            continue
        # Pydantic counts only the items that are valid; the others have their own errors.
        if details["type"] == "too_short" and details["input"]:
            continue
        yield document.problem(path, message_of(details, model))


def _is_near(place: documents.Place, unreadable: set[tuple[int | None, int | None]]) -> bool:
    return any(line == place[0] for line, _ in unreadable)


def _by_place(problem: Problem) -> tuple[int, int, str, str]:
    return problem.line or 0, problem.column or 0, problem.key, problem.message
