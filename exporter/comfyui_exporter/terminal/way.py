"""The way to an exporter: its address, and the files that open it."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from comfyui_exporter.config.rules import http_url
from comfyui_exporter.config.secret_files import (
    check_authorities,
    check_certificate,
    read_secret,
    read_user_and_password,
)

DEFAULT_URL = "http://127.0.0.1:9188"


@dataclass(frozen=True, slots=True)
class Way:
    """How an exporter is reached. Files are read at each connection, so that a changed secret needs no new start."""

    url: str = DEFAULT_URL
    """Checked, without a slash at its end."""
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    insecure: bool = False
    """Whether any certificate of the exporter will do."""
    basic_auth_file: Path | None = None
    token_file: Path | None = None

    def check(self) -> None:
        """Read each file once, so that mistakes are told before anything is tried.

        Raises:
            ValueError: something cannot be used; the message names the flag.

        """
        if self.basic_auth_file is not None and self.token_file is not None:
            raise ValueError("--basic-auth-file cannot be used together with --token-file")
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("--key-file needs --cert-file")
        for flag, path in self._files():
            try:
                self._read(flag, path)
            except OSError as error:
                message = f"--{flag}: {path} cannot be read: {error.strerror or error}"
                raise ValueError(message) from None
            except ValueError as error:
                message = f"--{flag}: {path} cannot be used: {error}"
                raise ValueError(message) from None

    def headers(self) -> Mapping[str, str]:
        """Give those of a request; blocking.

        Raises:
            OSError: a file cannot be read.
            ValueError: what it holds cannot be used.

        """
        if self.token_file is not None:
            return {"Authorization": f"Bearer {read_secret(self.token_file)}"}
        if self.basic_auth_file is not None:
            pair = ":".join(read_user_and_password(self.basic_auth_file))
            return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        return {}

    def tls(self) -> ssl.SSLContext | bool:
        """Make the context for https, True for the usual one; blocking.

        Raises:
            OSError: a file cannot be read, or (ssl.SSLError) holds no certificate.

        """
        if self.ca_file is None and self.cert_file is None and not self.insecure:
            return True
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert_file is not None:
            # Without a password of its own OpenSSL would ask on the terminal and wait.
            context.load_cert_chain(self.cert_file, self.key_file, password="")
        return context

    def _files(self) -> list[tuple[str, Path]]:
        files = {
            "ca-file": self.ca_file,
            "cert-file": self.cert_file,
            "basic-auth-file": self.basic_auth_file,
            "token-file": self.token_file,
        }
        return [(flag, path) for flag, path in files.items() if path is not None]

    def _read(self, flag: str, path: Path) -> None:
        match flag:
            case "ca-file":
                check_authorities(path)
            case "cert-file":
                check_certificate(path, self.key_file)
            case "basic-auth-file":
                read_user_and_password(path)
            case _:
                read_secret(path)


def address(text: str) -> str:
    """The URL that somebody typed, checked; `gpubox:9188` is taken for http.

    Raises:
        ValueError: it is none.

    """
    try:
        return http_url(text if "://" in text else f"http://{text}")
    except ValueError as error:
        message = str(error).replace(
            "basic_auth: {username, password_file} or bearer_token_file", "--basic-auth-file or --token-file"
        )
        raise ValueError(message) from None
