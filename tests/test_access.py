"""Headers, secrets and TLS of a server, from the files that the configuration names."""

from __future__ import annotations

import base64
import ssl

import pytest

from comfyui_exporter.access import access_of, headers_of, tls_of
from comfyui_exporter.config.servers import BasicAuth, ServerConfig, TlsConfig


@pytest.fixture
def file(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def server(**more):
    return ServerConfig(name="gpu0", url="http://127.0.0.1:8188", **more)


def test_a_server_without_secrets_has_no_headers():
    assert headers_of(server()) == {}


def test_headers_come_from_their_file(file):
    headers = file("headers", "# for the proxy\nX-Api-Key: abc\n\nX-Site:  a b \n")
    assert headers_of(server(headers_file=headers)) == {"X-Api-Key": "abc", "X-Site": "a b"}


def test_a_bearer_token_comes_from_its_file_without_the_line_break(file):
    assert headers_of(server(bearer_token_file=file("token", "abc\n"))) == {"Authorization": "Bearer abc"}


def test_user_and_password_are_put_together(file):
    auth = BasicAuth(username="monitor", password_file=file("password", "pä:ss\n"))
    expected = base64.b64encode("monitor:pä:ss".encode()).decode()
    assert headers_of(server(basic_auth=auth)) == {"Authorization": f"Basic {expected}"}


def test_a_token_stands_beside_the_headers_of_a_file(file):
    told = server(headers_file=file("headers", "X-Api-Key: abc\n"), bearer_token_file=file("token", "t"))
    assert headers_of(told) == {"X-Api-Key": "abc", "Authorization": "Bearer t"}


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_a_token_takes_the_place_of_an_authorization_in_the_headers_file(file, name):
    told = server(headers_file=file("headers", f"{name}: Basic old\n"), bearer_token_file=file("token", "t"))
    assert headers_of(told) == {"Authorization": "Bearer t"}


def test_a_file_is_read_each_time_it_is_asked_for(file):
    token = file("token", "old")
    access = access_of(server(bearer_token_file=token))
    assert access.headers() == {"Authorization": "Bearer old"}
    token.write_text("new\n")
    assert access.headers() == {"Authorization": "Bearer new"}


@pytest.mark.parametrize("key", ["headers_file", "bearer_token_file"])
def test_a_file_that_is_not_there_is_an_os_error(tmp_path, key):
    access = access_of(server(**{key: tmp_path / "absent"}))
    with pytest.raises(OSError, match="No such file"):
        access.headers()


@pytest.mark.parametrize(
    ("key", "content"),
    [
        ("bearer_token_file", ""),
        ("bearer_token_file", "a\nb\n"),
        ("headers_file", "no header"),
        ("headers_file", "é: x"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_value_error_and_is_not_quoted(file, key, content):
    with pytest.raises(ValueError, match=r"the file|line 1") as caught:
        headers_of(server(**{key: file("secret", content)}))
    assert "no header'" not in str(caught.value)


def test_without_tls_settings_the_usual_rules_hold():
    assert tls_of(None) is True
    assert access_of(server()).tls() is True


def test_tls_settings_check_who_the_server_is():
    context = tls_of(TlsConfig())
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_any_certificate_is_taken_only_where_that_is_said():
    context = tls_of(TlsConfig(insecure_skip_verify=True))
    assert isinstance(context, ssl.SSLContext)
    assert not context.check_hostname
    assert context.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize("key", ["ca_file", "cert_file"])
@pytest.mark.parametrize("there", [True, False])
def test_certificates_that_cannot_be_read_are_an_os_error(file, tmp_path, key, there):
    path = file("pem", "no certificate") if there else tmp_path / "absent"
    with pytest.raises(OSError):  # noqa: PT011  OpenSSL's messages differ by version
        tls_of(TlsConfig(**{key: path}))
