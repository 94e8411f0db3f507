"""The token that clients show, and tokens made from it that are good for one job."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("comfyui_exporter.push")

_PREFIX = "job."
_CONTEXT = b"comfyui-exporter job token\0"
"""Keeps what is signed here apart from whatever else the token may sign one day."""

_LONGEST_PROMPT = 512

SHORT = 16
"""Characters: whoever has the token of one job can try tokens for all without asking us."""

CHECK_EVERY = 2.0
"""Seconds for which a file of a token is taken as unchanged."""


def job_token(token: str, prompt_id: str) -> str:
    """Make a token for one prompt from the token for all; made of characters that headers and subprotocols may have."""
    return f"{_PREFIX}{_base64(prompt_id.encode(errors='replace'))}.{_signature(token, prompt_id)}"


def job_of_token(shown: str, token: str) -> str | None:
    """Give the prompt that a token for one job is good for, None if it is not one or was not made from `token`."""
    encoded, dot, signature = shown.removeprefix(_PREFIX).partition(".")
    if not shown.startswith(_PREFIX) or not dot or len(encoded) > 2 * _LONGEST_PROMPT:
        return None
    prompt = decode_base64(encoded)
    if prompt is None or not same(signature, _signature(token, prompt)):
        return None
    return prompt


def same(one: str, other: str) -> bool:
    """Compare secrets in a time that says nothing of where or how they differ."""
    digests = [hashlib.sha256(text.encode(errors="replace")).digest() for text in (one, other)]
    return hmac.compare_digest(*digests)


def decode_base64(text: str) -> str | None:
    """Give the text that base64url stands for, with or without padding; None if it is no such thing."""
    try:
        padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError):
        return None


def _signature(token: str, prompt_id: str) -> str:
    signed = hmac.new(token.encode(errors="replace"), _CONTEXT + prompt_id.encode(errors="replace"), hashlib.sha256)
    return _base64(signed.digest())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _report(error: Exception) -> None:
    log.error("the file with the push token cannot be read: %s", error)


class TokenFile:
    """The token in a file, read again when the file changes. `read` is given the path, in a thread.

    `read` may raise OSError and ValueError: then the token that was read before goes on to be asked for, and `report`
    is told once.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[Path], str],
        now: Callable[[], float] = time.monotonic,
        report: Callable[[Exception], None] = _report,
    ) -> None:
        self._report = report
        self._path = path
        self._read = read
        self._now = now
        self._checked: float | None = None
        self._seen: tuple[int, int, int] | None = None
        self._token: str | None = None
        self._told = False
        self._lock = asyncio.Lock()

    async def token(self) -> str | None:
        """Give the token; None if it could never be read."""
        async with self._lock:
            if self._checked is None or self._now() - self._checked >= CHECK_EVERY:
                await self._check()
                self._checked = self._now()
        return self._token

    async def _check(self) -> None:
        try:
            seen, token = await asyncio.to_thread(self._look)
        except (OSError, ValueError) as error:
            if not self._told:
                self._report(error)
            self._told = True
            return
        self._told = False
        self._seen = seen
        if token is not None:
            self._token = token
            if len(token) < SHORT:
                log.warning("the push token has fewer than %s characters and can be guessed", SHORT)

    def _look(self) -> tuple[tuple[int, int, int], str | None]:
        stat = self._path.stat()
        seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        return seen, self._read(self._path) if seen != self._seen else None
