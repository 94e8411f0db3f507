"""What the configuration says of reaching a server, for the client."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping

from comfyui_exporter.comfyui.connection import Access
from comfyui_exporter.config.secret_files import read_headers, read_secret
from comfyui_exporter.config.servers import ServerConfig, TlsConfig


def access_of(server: ServerConfig) -> Access:
    """Give the client its way in; files are read when it first connects and again when it is refused."""
    return Access(headers=lambda: headers_of(server), tls=lambda: tls_of(server.tls))


def headers_of(server: ServerConfig) -> Mapping[str, str]:
    """Read the files that hold headers and secrets; blocking.

    Raises:
        OSError: a file cannot be read.
        ValueError: what it holds cannot be used.

    """
    headers = read_headers(server.headers_file) if server.headers_file is not None else {}
    authorization = None
    if server.bearer_token_file is not None:
        authorization = f"Bearer {read_secret(server.bearer_token_file)}"
    if server.basic_auth is not None:
        pair = f"{server.basic_auth.username}:{read_secret(server.basic_auth.password_file)}"
        authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
    if authorization is not None:
        headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        headers["Authorization"] = authorization
    return headers


def tls_of(tls: TlsConfig | None) -> ssl.SSLContext | bool:
    """Make the TLS context, True for the usual one; blocking.

    Raises:
        OSError: a file cannot be read, or (ssl.SSLError) holds no certificate.

    """
    if tls is None:
        return True
    context = ssl.create_default_context(cafile=str(tls.ca_file) if tls.ca_file is not None else None)
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file is not None:
        # Without a password of its own OpenSSL would ask on the terminal and wait.
        context.load_cert_chain(tls.cert_file, tls.key_file, password="")
    return context
