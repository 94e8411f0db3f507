"""Durations as Prometheus writes them, and sizes in bytes."""

from __future__ import annotations

import re

from comfyui_exporter.config.describe import quoted

_DURATION = re.compile(
    r"(?:([0-9]+)y)?(?:([0-9]+)w)?(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?(?:([0-9]+)ms)?"
)
_MILLISECONDS = {
    "y": 31_536_000_000,
    "w": 604_800_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_SIZE = re.compile(r"([0-9]+)(B|KiB|MiB|GiB)?")
_BYTES = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
_LONGEST = 64
"""Far more than any sensible duration or size; keeps the conversion to int cheap whatever is typed."""


def parse_duration(text: str) -> float:
    """Seconds of a duration such as `500ms`, `2s`, `1h30m`, `15d`, or a bare `0`.

    Raises:
        ValueError: it is not one; the message says how to write it.
    """
    if text == "0":
        return 0.0
    match = _DURATION.fullmatch(text) if text and len(text) <= _LONGEST else None
    if match is None:
        raise ValueError(_how_to_write(text))
    milliseconds = sum(
        int(amount) * _MILLISECONDS[unit]
        for amount, unit in zip(match.groups(), _MILLISECONDS, strict=True)
        if amount is not None
    )
    return milliseconds / 1000


def format_duration(seconds: float) -> str:
    """The shortest exact way to write it: 5400 becomes `1h30m`. Years and weeks are written as days."""
    rest = round(seconds * 1000)
    text = ""
    for unit in ("d", "h", "m", "s", "ms"):
        amount, rest = divmod(rest, _MILLISECONDS[unit])
        if amount:
            text += f"{amount}{unit}"
    return text or "0"


def parse_size(text: str) -> int:
    """Bytes of a size such as `256MiB`; without a unit, bytes.

    Raises:
        ValueError: it is not one; the message says how to write it.
    """
    match = _SIZE.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        hint = ""
        if decimal := re.fullmatch(r"([0-9]+) ?([KMG])i?[Bb]?", text, re.IGNORECASE):
            hint = f"; did you mean {decimal[1]}{decimal[2].upper()}iB?"
        message = f"{quoted(text)} is not a size: write a whole number with B, KiB, MiB or GiB, such as 256MiB{hint}"
        raise ValueError(message)
    return int(match[1]) * _BYTES[match[2] or "B"]


def format_size(size: int) -> str:
    """The shortest exact way to write it: 1048576 becomes `1MiB`."""
    unit = next((unit for unit, factor in _BYTES.items() if size and size % factor == 0), "B")
    return f"{size // _BYTES[unit]}{unit}"


def _how_to_write(text: str) -> str:
    message = (
        f"{quoted(text)} is not a duration: write whole numbers with units, largest first, such as 500ms, 2s or 1h30m"
    )
    if re.fullmatch(r"[0-9]{1,9}", text):
        return f"{message}; did you mean {text}s?"
    if re.fullmatch(r"[0-9]{1,9}\.[0-9]{1,3}s", text):
        return f"{message}; did you mean {format_duration(float(text[:-1]))}?"
    return f"{message} (ms, s, m, h, d, w, y)"
