"""Typed JSON decoding that survives what Python's json module lets ComfyUI say."""

from __future__ import annotations

import codecs
import json
import math
import re
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

Body = bytes | bytearray

NULL = msgspec.Raw(b"null")
"""Stands for what is absent: ComfyUI and its clients write null where they mean nothing."""

_KEPT_WHOLE = 20_000
"""Text of up to this many characters is a value; what is longer was never meant to be one."""

_PIECE = 1 << 20

_DEEPEST = 100
"""Nesting beyond this is no graph and no workflow, but an attack on whoever reads it."""

MOST_VALUES = 1_000_000
"""In one text. Two bytes are enough for a value, of which we make some seventy: 50 MB would become 4 GB."""

_ROOMY = 2 * MOST_VALUES
"""Bytes that more values do not fit in."""

_MOST_OBJECTS = 500_000
"""Values that Python's own reader is given; of one it makes some hundred bytes, and meanwhile everybody waits."""

_MOST_TOKENS = 10_000_000
_HOPELESS = 1_000_000
"""Levels of nesting at which the rest is not looked at any more."""

_FORGIVEN = 256 * 1024
"""Bytes up to which the tolerant way is tried whatever is wrong; beyond, only for what ComfyUI does write."""

_BEGINNING = re.compile(rb"""[ \t\r\n]*[\[{"\-0-9tfnNI]""")
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]|-?Infinity|NaN', re.DOTALL)
_HALF_A_CHARACTER = re.compile(rb"\\\\u[dD][89a-fA-F]")
_AT = re.compile(r"\(byte ([0-9]+)\)$")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class PayloadError(Exception):
    """A payload is not of the shape that ComfyUI gives it."""


def decode(decoder: msgspec.json.Decoder[T], body: Body | msgspec.Raw, most: int | None = MOST_VALUES) -> T:
    """Decode JSON into what the decoder is made for.

    ComfyUI writes with Python's json module, which puts out NaN, Infinity and lone surrogates where a submitter or a
    node brought them, and nests as deep as they did. Then the slower tolerant way is taken: numbers that are none and
    what is nested too deep become null, surrogates and bytes that are no UTF-8 the replacement character.

    `most` is how many values it may have on all its levels together; None, if what is made of it is bounded elsewhere.

    Raises:
        PayloadError: it can't be read, is of another shape, or has too many values.

    """
    if most is not None and len(body) > _ROOMY and _values(body) > most:
        message = f"has more than {most} values"
        raise PayloadError(message)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise PayloadError(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if len(body) > _FORGIVEN and not _written_by_python(body, error):
            raise PayloadError(f"not readable as JSON: {error}"[:300]) from None
    if not _BEGINNING.match(body):
        raise PayloadError("not readable as JSON: it does not begin as JSON does")  # nor is the rest worth a look
    try:
        return decoder.decode(_made_strict(bytes(body)))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PayloadError(f"not readable as JSON: {error}"[:300]) from None


def _values(body: Body | msgspec.Raw) -> int:
    """How many values there are at most; commas of texts count too."""
    return (bytes(body) if isinstance(body, msgspec.Raw) else body).count(b",")


def _written_by_python(body: Body | msgspec.Raw, error: Exception) -> bool:
    """Whether it may be Python's json module that wrote what cannot be read: all else is garbage, however long."""
    if isinstance(error, RecursionError) or "surrogate" in str(error) or "hex escape" in str(error):
        return True
    if "truncated" in str(error):
        return _HALF_A_CHARACTER.search(bytes(memoryview(body)[-16:])) is not None
    found = _AT.search(str(error))
    return found is not None and bytes(memoryview(body)[int(found[1]) : int(found[1]) + 1]) in {b"N", b"I", b"-"}


def _made_strict(body: bytes) -> bytes:
    data = _text_of(body)
    if _values(body) > _MOST_OBJECTS:
        return _writable(_shallow(data)).encode()
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
    """Put null for numbers that are none and for whatever is nested too deep, without recursion and without objects.

    One submitter must not hide the jobs of all.
    """
    kept: list[str] = []
    depth = begin = 0
    for count, token in enumerate(_TOKEN.finditer(data)):
        if token[0] in "[{":
            depth += 1
            if depth == _DEEPEST:
                kept += data[begin : token.start()], "null"
            if depth > _HOPELESS or count > _MOST_TOKENS:
                raise ValueError("nested too deep, or too long")
        elif token[0] in "]}":
            if depth == _DEEPEST:
                begin = token.end()
            depth -= 1
        elif depth < _DEEPEST and (token[0][0] != '"' or "\\u" in token[0]):
            kept += data[begin : token.start()], _plain(token[0])
            begin = token.end()
    if depth < _DEEPEST:
        kept.append(data[begin:])
    return "".join(kept)


def _plain(token: str) -> str:
    """Write a text with escapes anew, as half a character may be among them; a number that is none becomes null."""
    return json.dumps(_writable(json.loads(token)), ensure_ascii=False) if token[0] == '"' else "null"


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
