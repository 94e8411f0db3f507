"""Certificates for tests, made by openssl."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    key: Path

    @property
    def serial(self) -> int:
        text = openssl("x509", "-in", str(self.certificate), "-noout", "-serial")
        return int(text.strip().partition("=")[2], 16)


def openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, text=True).stdout


def own(folder: Path, name: str, san: str = "IP:127.0.0.1") -> Pair:
    """A certificate that is its own authority."""
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -nodes"
    extra = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={san}"]
    openssl(*command.split(), *extra, "-out", str(pair.certificate), "-keyout", str(pair.key))
    return pair


def signed(folder: Path, name: str, authority: Pair, san: str) -> Pair:
    """One that an authority signed."""
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -nodes"
    extra = [
        "-subj",
        f"/CN={name}",
        "-addext",
        f"subjectAltName={san}",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ]
    by = ["-CA", str(authority.certificate), "-CAkey", str(authority.key)]
    openssl(*command.split(), *extra, *by, "-out", str(pair.certificate), "-keyout", str(pair.key))
    return pair


def trusting(authority: Pair, shown: Pair | None = None) -> ssl.SSLContext:
    """The context of a client that trusts one certificate, and may show one."""
    context = ssl.create_default_context(cafile=str(authority.certificate))
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    return context
