"""The web config file (`--web.config.file`), in the format of Prometheus' exporter-toolkit."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainValidator, StrictBool

from comfyui_exporter.config.consistency import Contradiction
from comfyui_exporter.config.describe import found, listed
from comfyui_exporter.config.document import Document
from comfyui_exporter.config.errors import ConfigError, Problem
from comfyui_exporter.config.fields import DurationRange, File, Text, WholeNumber
from comfyui_exporter.config.load import read_content, read_model
from comfyui_exporter.config.protection import ClientCertificates, Protection, RateLimit, ServerTls, server_context
from comfyui_exporter.config.rules import one_of
from comfyui_exporter.config.sections import Section
from comfyui_exporter.config.web_words import CIPHERS, CIPHERS_OF_TLS13, CURVES, VERSIONS

_HASH = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
_DEAREST = 18
_DEAR = 14
"""The cost of a hash from which a login takes a second or more, and above which it takes a minute."""

_CLIENTS = {
    "NoClientCert": ClientCertificates.IGNORED,
    "RequestClientCert": ClientCertificates.IGNORED,
    "VerifyClientCertIfGiven": ClientCertificates.CHECKED,
    "RequireAndVerifyClientCert": ClientCertificates.NEEDED,
}
_UNCHECKED = ("RequireAnyClientCert", "RequireClientCert")


def _choice(*allowed: str) -> Text:
    return Text(listed(allowed), lambda text: one_of(allowed, text))


def _hash(value: object) -> str:
    # Whatever stands there may be a password: none of it gets into a message.
    match = _HASH.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(
            "is not a bcrypt hash such as $2y$10$...; write one with: htpasswd -nBC 10 '' (the value is not shown here)"
        )
    if not 4 <= int(match[1]) <= _DEAREST:
        message = f"has the cost {match[1]}; allowed: 04 to {_DEAREST}, as each login takes twice as long as one less"
        raise ValueError(message)
    return str(value)


def _users(value: object) -> object:
    if not isinstance(value, dict):
        raise ValueError("is not a mapping of users to bcrypt hashes, such as `alice: $2y$10$...`")
    return value


def _client_auth_type(text: str) -> str:
    if text in _UNCHECKED:
        message = (
            f"{text} lets in any certificate, which proves nothing; it cannot be had here. "
            "Use RequireAndVerifyClientCert with client_ca_file"
        )
        raise ValueError(message)
    return one_of(tuple(_CLIENTS), text)


def _header_value(text: str) -> str:
    if not text.isprintable() or not text.isascii():
        raise ValueError("is not a value of a header: it has characters other than visible ASCII")
    return text


_HeaderValue = Annotated[str, Text("value of a header", _header_value)]
_Version = Annotated[str, _choice(*VERSIONS)]


class TlsServerConfig(Section):
    """`tls_server_config`."""

    cert_file: File | None = None
    key_file: File | None = None
    client_auth_type: Annotated[str, Text(listed(_CLIENTS), _client_auth_type)] = "NoClientCert"
    client_ca_file: File | None = None
    client_allowed_sans: tuple[Annotated[str, Text("name", str)], ...] | None = None
    min_version: _Version = "TLS12"
    max_version: _Version = "TLS13"
    cipher_suites: tuple[Annotated[str, _choice(*CIPHERS, *CIPHERS_OF_TLS13)], ...] = ()
    prefer_server_cipher_suites: StrictBool = True
    curve_preferences: tuple[Annotated[str, _choice(*CURVES)], ...] = ()


class Headers(Section):
    """`headers` of `http_server_config`."""

    strict_transport_security: _HeaderValue | None = Field(None, alias="Strict-Transport-Security")
    x_content_type_options: Annotated[str, _choice("nosniff")] | None = Field(None, alias="X-Content-Type-Options")
    x_xss_protection: _HeaderValue | None = Field(None, alias="X-XSS-Protection")
    x_frame_options: Annotated[str, _choice("deny", "sameorigin")] | None = Field(None, alias="X-Frame-Options")
    content_security_policy: _HeaderValue | None = Field(None, alias="Content-Security-Policy")


class HttpServerConfig(Section):
    """`http_server_config`."""

    http2: StrictBool | None = None
    headers: Headers = Field(default_factory=Headers)


class RateLimitConfig(Section):
    """`rate_limit`."""

    interval: Annotated[float, DurationRange(0.001, 3600, zero=True)] = 0.0
    burst: Annotated[int, WholeNumber(0, 1_000_000)] = 0


class WebConfigFile(Section):
    """The whole file."""

    tls_server_config: TlsServerConfig | None = None
    http_server_config: HttpServerConfig = Field(default_factory=HttpServerConfig)
    basic_auth_users: Annotated[dict[str, Annotated[str, PlainValidator(_hash)]], BeforeValidator(_users)] = Field(
        default_factory=dict, repr=False
    )
    rate_limit: RateLimitConfig = Field(default_factory=RateLimitConfig)


def load_web_config(path: Path | str) -> Protection:
    """Reads and checks a web config file with the files that it names.

    Raises:
        ConfigError: it cannot be used; names all problems, by line.
    """
    file = os.fspath(path)
    return parse_web_config(read_content(path), file, Path(path).parent)


def protection_of(path: Path | None, problems: list[Problem]) -> Protection:
    """Like `load_web_config`, for those who collect problems: adds to them."""
    try:
        return load_web_config(path) if path else Protection()
    except ConfigError as error:
        problems += error.problems
        return Protection()


def parse_web_config(content: bytes, file: str, folder: Path) -> Protection:
    """Like `load_web_config`, from the content of a file. Relative paths start at `folder`.

    Raises:
        ConfigError: it cannot be used.
    """
    model, document = read_model(WebConfigFile, content, file, folder, _contradictions)
    tls = None if model.tls_server_config is None else _tls(model.tls_server_config)
    if tls is not None:
        _check_files(tls, document)
    limit = model.rate_limit
    return Protection(
        tls=tls,
        users=model.basic_auth_users,
        headers=model.http_server_config.headers.model_dump(by_alias=True, exclude_none=True),
        rate_limit=RateLimit(limit.interval, limit.burst) if limit.interval else None,
        warnings=tuple(_warnings(model)),
    )


def _tls(model: TlsServerConfig) -> ServerTls | None:
    if model.cert_file is None or model.key_file is None:
        # An empty section; that one is named without the other was refused.
        return None
    lowest = VERSIONS[model.min_version] or ssl.TLSVersion.TLSv1_2
    highest = VERSIONS[model.max_version] or ssl.TLSVersion.TLSv1_3
    ciphers = ":".join(CIPHERS[name] for name in model.cipher_suites if name in CIPHERS)
    if model.cipher_suites and not ciphers:
        # Nothing is left for TLS 1.2.
        lowest = ssl.TLSVersion.TLSv1_3
    return ServerTls(
        certificate=model.cert_file,
        key=model.key_file,
        clients=_CLIENTS[model.client_auth_type],
        client_authorities=model.client_ca_file,
        client_names=None if model.client_allowed_sans is None else frozenset(map(san, model.client_allowed_sans)),
        lowest=lowest,
        highest=highest,
        ciphers=ciphers or None,
        curve=CURVES[model.curve_preferences[0]] if len(model.curve_preferences) == 1 else None,
        own_order=model.prefer_server_cipher_suites,
    )


def san(text: str) -> str:
    """A subject alternative name in its one way of writing."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def _check_files(tls: ServerTls, document: Document) -> None:
    try:
        server_context(tls)
    except OSError as error:
        reason = f"{error.filename or ''} cannot be read: {error.strerror or error}".lstrip()
    except ValueError as error:
        reason = str(error)
    else:
        return
    raise ConfigError([document.problem(("tls_server_config",), reason)])


def _contradictions(data: Mapping[str, object]) -> Iterator[Contradiction]:
    tls = data.get("tls_server_config")
    if not isinstance(tls, Mapping) or not tls:
        return
    here = "tls_server_config"
    for one, other in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if one not in tls:
            yield Contradiction((here,), f"{one} is missing{'' if other in tls else ', as nothing can be encrypted'}")
    # A tuple: what stands there may be anything, and not all of it can be hashed.
    verified = tls.get("client_auth_type") in ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
    if verified and "client_ca_file" not in tls:
        message = "needs client_ca_file: without it, certificates of every public authority would be good"
        yield Contradiction((here, "client_auth_type"), message)
    if "client_ca_file" in tls and tls.get("client_auth_type", "NoClientCert") == "NoClientCert":
        message = "is set, but client_auth_type asks for no certificates"
        yield Contradiction((here, "client_ca_file"), message)
    if "client_allowed_sans" in tls and tls.get("client_auth_type") != "RequireAndVerifyClientCert":
        message = "needs client_auth_type: RequireAndVerifyClientCert, as there may be no certificate to look at"
        yield Contradiction((here, "client_allowed_sans"), message)
    lowest, highest = tls.get("min_version", "TLS12"), tls.get("max_version", "TLS13")
    order = list(VERSIONS)
    if highest in order and VERSIONS[str(highest)] is None:
        message = f"found {found(highest)}; allowed: TLS12 or TLS13, as older versions are not offered"
        yield Contradiction((here, "max_version"), message)
    elif lowest in order and highest in order and order.index(str(lowest)) > order.index(str(highest)):
        yield Contradiction((here, "max_version"), f"{highest} is below min_version, {lowest}")


def _warnings(model: WebConfigFile) -> Iterator[str]:
    tls = model.tls_server_config or TlsServerConfig()
    if VERSIONS[tls.min_version] is None:
        yield f"min_version is {tls.min_version}, but TLS 1.2 is the oldest version that is offered"
    if tls.client_auth_type == "RequestClientCert":
        yield "client_auth_type is RequestClientCert: no certificate is asked for, as it would not be checked"
    if len(tls.curve_preferences) > 1:
        yield "curve_preferences has several curves: OpenSSL's own choice and order hold"
    if model.http_server_config.http2:
        yield "http2 is true, but only HTTP/1.1 is spoken"
    for user, hashed in model.basic_auth_users.items():
        if int(hashed.split("$")[2]) > _DEAR:
            yield f"the password hash of user {user!r} has the cost {hashed.split('$')[2]}: each login takes seconds"
    if model.basic_auth_users and (model.tls_server_config is None or tls.cert_file is None):
        yield "passwords are asked for without TLS: whoever is in between can read them, unless a proxy adds it"
