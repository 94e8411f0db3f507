"""Files that configuration keys point to: secrets, headers, certificates."""

from __future__ import annotations

import base64
import re
import ssl
from pathlib import Path

from comfyui_exporter.config.describe import quoted

LARGEST_SECRET = 64 * 1024
ENCODED_KEY = "whsec_"
"""Begins a secret that is a key in base64, by the Standard Webhooks specification."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def read_secret(path: Path) -> str:
    """The text of a file, without one line break at its end.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is empty, larger than 64 KiB, not UTF-8, or more than one line.
    """
    text = _read(path)
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError("the file is empty")
    if any(char in text for char in "\r\n\0"):
        raise ValueError("the file holds more than one line; a secret is one line")
    return text


def read_user_and_password(path: Path) -> tuple[str, str]:
    """The two of a file with `user:password`.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no such thing.
    """
    user, colon, password = read_secret(path).partition(":")
    if not colon or not user:
        raise ValueError("the file does not hold USER:PASSWORD")
    return user, password


def read_webhook_secret(path: Path) -> str:
    """The secret of a webhook: text, or `whsec_` and a key in base64 as libraries for webhooks have it.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no secret, or what follows `whsec_` is not base64.
    """
    secret = read_secret(path)
    if secret.startswith(ENCODED_KEY):
        try:
            base64.b64decode(secret.removeprefix(ENCODED_KEY), validate=True)
        except ValueError:
            message = f"what follows {ENCODED_KEY} is not base64"
            raise ValueError(message) from None
    return secret


def read_headers(path: Path) -> dict[str, str]:
    """Headers of a file with one `Name: value` on a line; empty lines and lines that start with # are passed over.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is too large or not UTF-8, or a line is no header; the message names the line, not its text.
    """
    headers: dict[str, str] = {}
    for number, line in enumerate(_read(path).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or not value.strip().isprintable():
            message = f"line {number} is not a header; write `Name: value`"
            raise ValueError(message)
        if name.lower() in {known.lower() for known in headers}:
            message = f"line {number} repeats the header {quoted(name)}"
            raise ValueError(message)
        headers[name] = value.strip()
    return headers


def check_authorities(path: Path) -> None:
    """Raises OSError or ValueError unless the file holds certificates to trust."""
    _open(path)
    try:
        ssl.create_default_context(cafile=str(path))
    except ssl.SSLError:
        raise ValueError("the file holds no certificates in PEM format") from None


def check_certificate(certificate: Path, key: Path | None) -> None:
    """Raises OSError or ValueError unless the files hold a certificate and its key, without a pass phrase."""
    _open(certificate)
    if key is not None:
        _open(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        # Without a password of its own OpenSSL would ask on the terminal and wait.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError:
        raise ValueError("the files hold no certificate with its key, unencrypted, in PEM format") from None


def _open(path: Path) -> None:
    """Raises the OSError that names the file; OpenSSL's own do not."""
    with path.open("rb"):
        pass


def _read(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(LARGEST_SECRET + 1)
    if len(content) > LARGEST_SECRET:
        message = f"the file is larger than {LARGEST_SECRET // 1024} KiB"
        raise ValueError(message)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8 text") from None
