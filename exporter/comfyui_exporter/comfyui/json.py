"""Typed JSON decoding that survives what Python's json module lets ComfyUI say."""

from __future__ import annotations

import codecs
import json
import math
import re
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

NULL = msgspec.Raw(b"null")
"""Stands for what is absent: ComfyUI and its clients write null where they mean nothing."""

_KEPT_WHOLE = 20_000
"""Text of up to this many characters is a value; what is longer was never meant to be one."""

_PIECE = 1 << 20

_DEEPEST = 100
"""Nesting beyond this is no graph and no workflow, but an attack on whoever reads it."""

_BEGINNING = re.compile(rb"""[ \t\r\n]*[\[{"\-0-9tfnNI]""")
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class PayloadError(Exception):
    """A payload is not of the shape that ComfyUI gives it."""


def decode(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw) -> T:
    """Decode JSON into what the decoder is made for.

    ComfyUI writes with Python's json module, which puts out NaN, Infinity and lone surrogates where a submitter or a
    node brought them, and nests as deep as they did. Then the slower tolerant way is taken: numbers that are none and
    what is nested too deep become null, surrogates and bytes that are no UTF-8 the replacement character.

    Raises:
        PayloadError: it can't be read, or is of another shape.

    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise PayloadError(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    if not _BEGINNING.match(body):
        raise PayloadError("not readable as JSON: it does not begin as JSON does")  # nor is the rest worth a look
    try:
        return decoder.decode(_made_strict(bytes(body)))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PayloadError(f"not readable as JSON: {error}"[:300]) from None


def _made_strict(body: bytes) -> bytes:
    data = _text_of(body)
    try:
        return _written_anew(data)
    except RecursionError:
        return _written_anew(_shallow(data))


def _text_of(body: bytes) -> str:
    """Decode in pieces, between which others get the interpreter: a hundred megabytes take a second."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces = [decoder.decode(body[start : start + _PIECE]) for start in range(0, len(body), _PIECE)]
    return "".join([*pieces, decoder.decode(b"", final=True)])


def _written_anew(data: str) -> bytes:
    value = json.loads(data, parse_constant=_no_constant, parse_float=_finite)
    return _writable(json.dumps(value, ensure_ascii=False, allow_nan=False)).encode()


def _no_constant(_name: str) -> None:
    return None


def _finite(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None


def _shallow(data: str) -> str:
    """Put null for whatever is nested too deep, without recursion: one submitter must not hide the jobs of all."""
    kept: list[str] = []
    depth = begin = 0
    for token in _TOKEN.finditer(data):
        if token[0] in "[{":
            depth += 1
            if depth == _DEEPEST:
                kept += data[begin : token.start()], "null"
        elif token[0] in "]}":
            if depth == _DEEPEST:
                begin = token.end()
            depth -= 1
    if depth < _DEEPEST:
        kept.append(data[begin:])
    return "".join(kept)


def _writable(value: str) -> str:
    return _LONE_SURROGATE.sub("\ufffd", value)


_anything = msgspec.json.Decoder(Any)


def value_of(raw: msgspec.Raw | None) -> Any:
    """Decode a small value whose type is not known; None for what is absent, too long or unreadable."""
    if raw is None:
        return None
    data = bytes(raw)
    if len(data) > _KEPT_WHOLE:
        return None
    try:
        return decode(_anything, data)
    except PayloadError:
        return None


def text(value: object, limit: int) -> str:
    """Take a string of a submitter at most this long, with nothing in it that can't be written as UTF-8."""
    if not isinstance(value, str):
        return ""
    return _writable(value[:limit])


def tag(value: object, limit: int = 200) -> str:
    """Take a tag that may be given as a string or a number: 123 and "123" are the same."""
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, int):
        return str(value)[:limit]
    if isinstance(value, float):
        return repr(value)[:limit]
    return text(value, limit)
