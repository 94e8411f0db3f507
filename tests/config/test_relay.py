"""The settings of a relay."""

from __future__ import annotations

from pathlib import Path

import pytest

from certificates import own
from comfyui_exporter.config.errors import ConfigError
from comfyui_exporter.config.relay import resolve_relay
from comfyui_exporter.config.relay_flags import RELAY_FLAGS

UPSTREAM = {"upstream": ["ws://exporter:8329"]}


def problems(flags, environ=None):
    with pytest.raises(ConfigError) as caught:
        resolve_relay(flags, environ or {})
    return str(caught.value).splitlines()


def test_an_upstream_is_all_that_it_needs():
    settings = resolve_relay(UPSTREAM, {})
    assert settings.upstream == "ws://exporter:8329"
    assert settings.listen_address == ("127.0.0.1", 8329)
    assert (settings.max_clients, settings.queue_size) == (10_000, 64)
    assert (settings.allowed_origins, settings.token_file, settings.upstream_token_file) == ((), None, None)
    assert (settings.log_level, settings.log_format) == ("info", "logfmt")


def test_without_one_it_says_so():
    assert problems({}) == ["--upstream: is needed: the push service to relay, such as ws://HOST:8329"]


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("ws://Exporter:8329/", "ws://exporter:8329"),
        ("wss://example.org/push", "wss://example.org/push"),
        ("http://exporter:8329", "ws://exporter:8329"),
        ("https://example.org/ws/", "wss://example.org/ws"),
        ("ws://[::1]:8329", "ws://[::1]:8329"),
    ],
)
def test_upstreams(given, url):
    assert resolve_relay({"upstream": [given]}, {}).upstream == url


@pytest.mark.parametrize("given", ["exporter:8329", "ftp://x", "ws://", "ws://x?job_id=1", "ws://x:99999", "ws://a b"])
def test_what_is_no_upstream_is_refused(given):
    assert problems({"upstream": [given]})[0].startswith("--upstream: ")


def test_a_password_is_neither_accepted_nor_shown():
    (problem,) = problems({"upstream": ["ws://user:secret@exporter:8329"]})
    assert "secret" not in problem
    assert "--upstream.token-file" in problem


def test_all_problems_are_told_at_once(tmp_path):
    (tmp_path / "empty").touch()
    flags = {
        "upstream": ["x"],
        "upstream.token-file": [str(tmp_path / "none")],
        "push.listen-address": ["8329"],
        "push.max-clients": ["0"],
        "push.queue-size": ["many"],
        "push.allowed-origins": ["https://a.example/page", "https://b.example"],
        "push.token-file": [str(tmp_path / "empty")],
        "log.level": ["loud"],
        "log.format": ["xml"],
    }
    told = problems(flags)
    assert [line.split(":", 1)[0] for line in told] == [f"--{name}" for name in flags]


def test_flags_beat_variables(tmp_path):
    secret = tmp_path / "token"
    secret.write_text("geheim\n")
    environ = {
        "COMFYUI_EXPORTER_RELAY_UPSTREAM": "ws://from-env:1",
        "COMFYUI_EXPORTER_RELAY_PUSH_LISTEN_ADDRESS": ":8000",
        "COMFYUI_EXPORTER_RELAY_PUSH_ALLOWED_ORIGINS": "https://a.example, https://b.example *",
        "COMFYUI_EXPORTER_RELAY_UPSTREAM_TOKEN_FILE": str(secret),
        "COMFYUI_EXPORTER_RELAY_LOG_LEVEL": "warning",
        "COMFYUI_EXPORTER_LOG_FORMAT": "json",
    }
    settings = resolve_relay({"push.listen-address": ["[::1]:9000"], "push.max-clients": ["5", "7"]}, environ)
    assert settings.upstream == "ws://from-env:1"
    assert settings.listen_address == ("::1", 9000)
    assert settings.max_clients == 7
    assert settings.allowed_origins == ("https://a.example", "https://b.example", "*")
    assert settings.upstream_token_file == Path(secret)
    assert (settings.log_level, settings.log_format) == ("warn", "logfmt")


def test_every_flag_has_a_variable_of_the_relay_alone():
    assert all(flag.variable.startswith("COMFYUI_EXPORTER_RELAY_") for flag in RELAY_FLAGS)
    assert len({flag.variable for flag in RELAY_FLAGS}) == len(RELAY_FLAGS)


def test_files_for_the_upstream_have_to_fit_together(tmp_path):
    pair, other = own(tmp_path, "relay"), own(tmp_path, "other")
    (tmp_path / "auth").write_text("relay:secret\n")
    (tmp_path / "token").write_text("secret")
    flags = UPSTREAM | {
        "upstream.basic-auth-file": [str(tmp_path / "auth")],
        "upstream.ca-file": [str(other.certificate)],
        "upstream.cert-file": [str(pair.certificate)],
        "upstream.key-file": [str(pair.key)],
    }
    settings = resolve_relay(flags, {})
    assert settings.upstream_basic_auth_file == tmp_path / "auth"
    assert (settings.upstream_ca_file, settings.upstream_cert_file) == (other.certificate, pair.certificate)
    assert "no certificate with its key" in problems(flags | {"upstream.key-file": [str(other.key)]})[0]
    del flags["upstream.cert-file"]
    assert problems(flags) == ["--upstream.key-file: needs --upstream.cert-file"]
    both = UPSTREAM | {
        "upstream.basic-auth-file": [str(tmp_path / "auth")],
        "upstream.token-file": [str(tmp_path / "token")],
    }
    assert problems(both) == ["--upstream.basic-auth-file: cannot be used together with --upstream.token-file"]
    (told,) = problems(UPSTREAM | {"upstream.basic-auth-file": [str(tmp_path / "token")]})
    assert told.endswith("cannot be used: the file does not hold USER:PASSWORD")


def test_a_web_config_is_read_with_all_problems(tmp_path):
    (tmp_path / "web.yml").write_text("tls: {}\nhttp_server_config: {http2: maybe}\n")
    assert len(problems(UPSTREAM | {"web.config.file": [str(tmp_path / "web.yml")]})) == 2
    (tmp_path / "web.yml").write_text("http_server_config: {http2: true}")
    settings = resolve_relay(UPSTREAM | {"web.config.file": [str(tmp_path / "web.yml")]}, {})
    assert settings.warnings == ("http2 is true, but only HTTP/1.1 is spoken",)
