"""One ComfyUI server: where it is, how to be let in, when to worry."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StrictBool, model_validator

from comfyui_exporter.config import rules
from comfyui_exporter.config.fields import DurationRange, File, HttpUrl, Text
from comfyui_exporter.config.sections import Section
from comfyui_exporter.config.units import parse_duration

NAME = rules.plain(128)


class BasicAuth(Section):
    """User name and password, as a proxy before ComfyUI may want them."""

    username: Annotated[str, Text("user name", rules.plain(256))] = Field(description="The user.", examples=["monitor"])
    password_file: File = Field(
        description="File that holds the password; one line break at its end is not part of it.",
        examples=["secrets/comfyui-password"],
    )


class TlsConfig(Section):
    """How the server proves itself to us, and we to it."""

    ca_file: File | None = Field(
        None,
        description="Certificates of the authorities to trust (PEM) instead of the system's.",
        examples=["tls/ca.pem"],
    )
    cert_file: File | None = Field(
        None, description="Our own certificate (PEM), where the server asks for one.", examples=["tls/client.pem"]
    )
    key_file: File | None = Field(
        None, description="The key of cert_file, unless that holds it too.", examples=["tls/client.key"]
    )
    insecure_skip_verify: StrictBool = Field(
        False, description="Accept any certificate: whoever is in between can read and change everything."
    )


class ServerConfig(Section):
    """One ComfyUI server."""

    name: Annotated[str, Text("name", NAME)] = Field(
        "",
        description="The server label of its metrics; unique. Without it, host:port of the URL.",
        examples=["gpu0"],
    )
    url: HttpUrl = Field(
        description="Where ComfyUI listens; may carry a path prefix.", examples=["http://127.0.0.1:8188"]
    )
    headers_file: File | None = Field(
        None,
        description="File with headers to send, one `Name: value` on a line.",
        examples=["secrets/comfyui-headers"],
    )
    bearer_token_file: File | None = Field(
        None,
        description="File that holds the token for `Authorization: Bearer`. Not together with basic_auth.",
        examples=["secrets/comfyui-token"],
    )
    basic_auth: BasicAuth | None = Field(None, description="User name and password. Not together with a bearer token.")
    tls: TlsConfig | None = Field(None, description="For https URLs.")
    client_id: Annotated[str, Text("id", rules.client_id)] | None = Field(
        None,
        description="Our clientId at the server is comfyui-exporter-<client_id>-<random>, fresh for each connection.",
        examples=["site-a"],
    )
    stall_timeout: Annotated[float, DurationRange(1, parse_duration("365d"))] = Field(
        600.0,
        description="A job that runs without a sign of progress, while the server answers, is flagged stalled after "
        "this long; after six times this long if its events are not heard (as in this version).",
    )
    job_timeout: Annotated[float, DurationRange(1, parse_duration("365d"))] | None = Field(
        None, description="A job that runs longer than this is reported as timeout. Unset: never.", examples=["2h"]
    )

    @model_validator(mode="before")
    @classmethod
    def _has_a_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and "name" not in data and isinstance(data.get("url"), str):
            try:
                return {**data, "name": rules.default_name(rules.http_url(data["url"]))}
            except ValueError:
                # The field url reports it.
                return data
        return data
