"""Typed JSON decoding that survives what Python's json module lets ComfyUI say."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

NULL = msgspec.Raw(b"null")
"""Stands for what is absent: ComfyUI and its clients write null where they mean nothing."""

_any = msgspec.json.Decoder()

_KEPT_WHOLE = 20_000
"""Text of up to this many characters is a value; what is longer was never meant to be one."""


class PayloadError(Exception):
    """A payload is not of the shape that ComfyUI gives it."""


def decode(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw) -> T:
    """Decode JSON into what the decoder is made for.

    ComfyUI writes with Python's json module, which puts out NaN, Infinity and lone surrogates where a submitter or a
    node brought them. Those are no JSON; then the slower tolerant way is taken, in which they become null.

    Raises:
        PayloadError: it can't be read, or is of another shape.

    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise PayloadError(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return decoder.decode(_made_strict(bytes(body)))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PayloadError(f"not readable as JSON: {error}"[:300]) from None


def _made_strict(body: bytes) -> bytes:
    value = json.loads(body.decode("utf-8", "replace"), parse_constant=_no_constant)
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace")


def _no_constant(_name: str) -> None:
    return None


def value_of(raw: msgspec.Raw | None) -> Any:
    """Decode a small value whose type is not known; None for what is absent, too long or unreadable."""
    if raw is None:
        return None
    data = bytes(raw)
    if len(data) > _KEPT_WHOLE:
        return None
    try:
        return decode(_any, data)
    except PayloadError:
        return None


def text(value: object, limit: int) -> str:
    """Take a string of a submitter at most this long, with nothing in it that can't be written as UTF-8."""
    if not isinstance(value, str):
        return ""
    return value[:limit].encode("utf-8", "replace").decode("utf-8")


def tag(value: object, limit: int = 200) -> str:
    """Take a tag that may be given as a string or a number: 123 and "123" are the same."""
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, int):
        return str(value)[:limit]
    if isinstance(value, float):
        return repr(value)[:limit]
    return text(value, limit)
