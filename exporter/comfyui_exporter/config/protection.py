"""What a web config file asks for, as plain values: TLS, users, headers and a limit of requests."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path


class ClientCertificates(Enum):
    """Whether clients have to prove themselves by a certificate."""

    IGNORED = ssl.CERT_NONE
    CHECKED = ssl.CERT_OPTIONAL
    """Those that are shown."""
    NEEDED = ssl.CERT_REQUIRED


@dataclass(frozen=True, slots=True)
class ServerTls:
    """How connections are encrypted. Says nothing of whether its files can be used, see `server_context`."""

    certificate: Path
    key: Path
    clients: ClientCertificates = ClientCertificates.IGNORED
    client_authorities: Path | None = None
    client_names: frozenset[str] | None = None
    """Subject alternative names, one of which the certificate of a client has to have."""
    lowest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ciphers: str | None = None
    """In OpenSSL's words, for TLS 1.2; None: those that Python chooses."""
    curve: str | None = None
    """The only one, in OpenSSL's words."""
    own_order: bool = True
    """Whether our order of ciphers counts, not that of the client."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All that is read."""
        authorities = () if self.client_authorities is None else (self.client_authorities,)
        return (self.certificate, self.key, *authorities)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A bucket of `burst` requests that gets one more every `interval` seconds."""

    interval: float
    burst: int


@dataclass(frozen=True, slots=True)
class Protection:
    """How our ports are protected. Without arguments: not at all."""

    tls: ServerTls | None = None
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The bcrypt hash of the password of each user; without any, nobody is asked."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of each response; an empty value takes one of ours away."""
    rate_limit: RateLimit | None = None
    warnings: tuple[str, ...] = ()
    """Sentences for the log: what is accepted without effect."""


def server_context(tls: ServerTls) -> ssl.SSLContext:
    """The TLS context of a server; reads its files, and so blocks.

    Raises:
        OSError: a file cannot be read.
        ValueError: what the files hold cannot be used.
    """
    for file in tls.files:
        # OpenSSL's own errors do not name the file.
        with file.open("rb"):
            pass
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = tls.lowest
    context.maximum_version = tls.highest
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if tls.own_order:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    if tls.ciphers is not None:
        try:
            context.set_ciphers(tls.ciphers)
        except ssl.SSLError:
            raise ValueError("cipher_suites: the OpenSSL of this host has none of them") from None
    if tls.curve is not None:
        context.set_ecdh_curve(tls.curve)
    try:
        # Without a password of its own OpenSSL would ask on the terminal and wait.
        context.load_cert_chain(tls.certificate, tls.key, password="")
    except ssl.SSLError:
        message = f"{tls.certificate} and {tls.key} hold no certificate with its key, unencrypted, in PEM format"
        raise ValueError(message) from None
    if tls.client_authorities is not None:
        try:
            context.load_verify_locations(tls.client_authorities)
        except ssl.SSLError:
            message = f"{tls.client_authorities} holds no certificates in PEM format"
            raise ValueError(message) from None
    context.verify_mode = tls.clients.value
    return context
