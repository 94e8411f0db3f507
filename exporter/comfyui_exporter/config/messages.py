"""What pydantic found, in the words of the configuration file."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Sequence

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from comfyui_exporter.config.describe import found, listed, quoted
from comfyui_exporter.config.model import Config

Path = tuple[str | int, ...]

RENAMED = {
    "scrape_interval": "poll_interval",
    "interval": "poll_interval",
    "timeout": "request_timeout",
    "scrape_timeout": "request_timeout",
    "targets": "servers",
    "static_configs": "servers",
    "file_sd_configs": "server_files",
    "server": "servers",
    "tls_config": "tls",
    "headers": "headers_file",
    "token": "token_file",
    "bearer_token": "bearer_token_file",
    "password": "password_file",
    "secret": "secret_file",
    "host": "url",
    "address": "url",
    "target": "url",
    "cert": "cert_file",
    "key": "key_file",
    "client_ca": "client_ca_file",
}
"""Keys that people bring from Prometheus and elsewhere, to ours."""


def message_of(error: ErrorDetails, root: type[BaseModel] = Config) -> str:
    """What was found at `error["loc"]` and what is allowed there. `root` describes the whole file."""
    value = error["input"]
    match error["type"]:
        case "value_error":
            message = str(error["ctx"]["error"])
        case "extra_forbidden":
            message = unknown_key(error["loc"], root)
        case "missing":
            message = "is required and missing"
        case "tuple_type" | "list_type":
            message = f"expected a list, found {found(value)}"
        case "model_type" | "dict_type":
            keys = listed(_keys(model_at(error["loc"], root)))
            message = f"expected a mapping with keys such as {keys}, found {found(value)}"
        case "bool_type":
            message = f"expected true or false, found {found(value)}"
        case "too_short":
            message = "found an empty list; at least one item is needed"
        case "too_long":
            message = f"found {error['ctx']['actual_length']} items; allowed: at most {error['ctx']['max_length']}"
        case "enum":
            message = f"found {found(value)}; allowed: {error['ctx']['expected'].replace(chr(39), '')}"
        case _:
            message = f"{error['msg']}, found {found(value)}"
    return message


def unknown_key(path: Path, root: type[BaseModel] = Config) -> str:
    """Which key may be meant, where a key of this name belongs, and which ones are allowed here."""
    key = str(path[-1])
    allowed = _keys(model_at(path[:-1], root))
    message = "unknown key"
    close = [RENAMED[key]] if RENAMED.get(key) in allowed else difflib.get_close_matches(key, allowed, 1)
    if elsewhere := [place for place, model in sections(root) if key in _keys(model)]:
        message += f": it belongs {listed(elsewhere)}"
    elif close:
        message += f": did you mean {quoted(close[0])}?"
    return f"{message} (allowed here: {', '.join(allowed)})"


def model_at(path: Sequence[str | int], root: type[BaseModel] = Config) -> type[BaseModel]:
    """The model that describes the mapping at this path; the innermost known one where the path leads nowhere."""
    model: type[BaseModel] = root
    for part in path:
        if isinstance(part, str) and part in model.model_fields:
            model = model_in(model.model_fields[part].annotation) or model
    return model


def model_in(annotation: object) -> type[BaseModel] | None:
    """The model inside an annotation such as `tuple[Model, ...]` or `Model | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in typing.get_args(annotation) if (model := model_in(part))), None)


def _keys(model: type[BaseModel]) -> list[str]:
    """The keys as they stand in a file."""
    return [field.alias or name for name, field in model.model_fields.items()]


def sections(root: type[BaseModel] = Config) -> Iterator[tuple[str, type[BaseModel]]]:
    """Every model with words for its place: "at the top", "under servers[]"."""
    yield "at the top", root
    for place, model in _below("", root):
        yield f"under {place}", model


def _below(prefix: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        inner = model_in(field.annotation)
        if inner is not None:
            several = "[]" if typing.get_origin(field.annotation) is tuple else ""
            yield f"{prefix}{name}{several}", inner
            yield from _below(f"{prefix}{name}{several}.", inner)
