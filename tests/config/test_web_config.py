"""The web config file."""

from __future__ import annotations

import ssl

import pytest

from certificates import own
from comfyui_exporter.config.errors import ConfigError
from comfyui_exporter.config.protection import ClientCertificates, RateLimit, server_context
from comfyui_exporter.config.web_config import load_web_config, parse_web_config

HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    own(folder, "server")
    own(folder, "other")
    return folder


def read(text, folder):
    return parse_web_config(text.encode(), "web.yml", folder)


def problems(text, folder):
    with pytest.raises(ConfigError) as caught:
        read(text, folder)
    return str(caught.value).splitlines()


def tls(*lines):
    return "\n  ".join(["tls_server_config:", "cert_file: server.pem", "key_file: server.key", *lines])


def test_an_empty_file_protects_nothing(folder):
    protection = read("", folder)
    assert (protection.tls, protection.users, protection.headers, protection.rate_limit) == (None, {}, {}, None)
    assert read("tls_server_config: {}", folder).tls is None


def test_what_the_toolkit_documents_is_read(folder):
    text = (
        tls(
            "client_auth_type: RequireAndVerifyClientCert",
            "client_ca_file: other.pem",
            "client_allowed_sans: [prometheus.lan, '2001:DB8:0::1']",
            "min_version: TLS12",
            "max_version: TLS13",
            "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]",
            "prefer_server_cipher_suites: false",
            "curve_preferences: [CurveP256]",
        )
        + "\nhttp_server_config:\n  http2: false\n  headers: {X-Frame-Options: sameorigin, X-XSS-Protection: ''}"
        + f"\nbasic_auth_users:\n  alice: {HASH}\nrate_limit: {{interval: 1s, burst: 20}}\n"
    )
    protection = read(text, folder)
    assert protection.tls is not None
    assert protection.tls.clients is ClientCertificates.NEEDED
    assert protection.tls.client_names == {"prometheus.lan", "2001:db8::1"}
    assert (protection.tls.ciphers, protection.tls.curve) == ("ECDHE-ECDSA-AES128-GCM-SHA256", "prime256v1")
    assert protection.users == {"alice": HASH}
    assert protection.headers == {"X-Frame-Options": "sameorigin", "X-XSS-Protection": ""}
    assert protection.rate_limit == RateLimit(1, 20)
    assert protection.warnings == ()
    assert server_context(protection.tls).verify_mode is ssl.CERT_REQUIRED


def test_files_are_looked_for_beside_it(folder):
    file = folder / "web.yml"
    file.write_text(tls())
    protection = load_web_config(file)
    assert protection.tls is not None
    assert protection.tls.files == (folder / "server.pem", folder / "server.key")


def test_all_mistakes_are_told_at_once_by_line(folder):
    text = "tls_server_config:\n  cert: x\n  cert_file: server.pem\nbasic_auth_users: [alice]\ntls: {}\n"
    assert [line.split(" (")[0] for line in problems(text, folder)] == [
        "web.yml:1:1: tls_server_config: key_file is missing",
        'web.yml:2:3: tls_server_config.cert: unknown key: did you mean "cert_file"?',
        "web.yml:4:1: basic_auth_users: is not a mapping of users to bcrypt hashes, such as `alice: $2y$10$...`",
        "web.yml:5:1: tls: unknown key",
    ]


@pytest.mark.parametrize("value", ["hunter2", "1234", "[hunter2]", "$2y$10$hunter2", "true"])
def test_a_password_in_the_place_of_a_hash_is_refused_and_not_shown(value, folder):
    (told,) = problems(f"basic_auth_users:\n  alice: {value}\n", folder)
    assert told.startswith("web.yml:2:3: basic_auth_users.alice: is not a bcrypt hash")
    assert value.strip("[]") not in told


def test_hashes_are_in_no_representation(folder):
    assert HASH not in repr(read(f"basic_auth_users: {{alice: {HASH}}}", folder))


@pytest.mark.parametrize("cost", ["03", "19", "31"])
def test_a_hash_that_takes_no_time_or_minutes_is_refused(cost, folder):
    (told,) = problems(f"basic_auth_users: {{alice: {HASH.replace('$10$', f'${cost}$')}}}", folder)
    assert f"has the cost {cost}" in told


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("client_auth_type: RequireAnyClientCert", "lets in any certificate, which proves nothing"),
        ("client_auth_type: {}", "tls_server_config.client_auth_type: "),
        ("client_auth_type: [NoClientCert]", "tls_server_config.client_auth_type: "),
        ("client_auth_type: Whatever", 'found "Whatever"; allowed: NoClientCert'),
        ("client_auth_type: RequireAndVerifyClientCert", "needs client_ca_file"),
        ("client_auth_type: VerifyClientCertIfGiven", "needs client_ca_file"),
        ("client_ca_file: other.pem", "client_auth_type asks for no certificates"),
        ("client_allowed_sans: [a]", "needs client_auth_type: RequireAndVerifyClientCert"),
        ("max_version: TLS11", "allowed: TLS12 or TLS13"),
        ("min_version: SSL3", 'found "SSL3"; allowed: TLS10, TLS11, TLS12 or TLS13'),
        ("cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]", 'found "TLS_RSA_WITH_RC4_128_SHA"'),
        ("curve_preferences: [CurveP1]", 'found "CurveP1"'),
        ("prefer_server_cipher_suites: 1", "expected true or false"),
    ],
)
def test_what_cannot_be_had_is_refused(line, said, folder):
    told = problems(tls(line), folder)
    assert len(told) == 1
    assert said in told[0]


def test_a_minimum_above_the_maximum_is_refused(folder):
    (told,) = problems(tls("min_version: TLS13", "max_version: TLS12"), folder)
    assert told.endswith("TLS12 is below min_version, TLS13")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (tls("min_version: TLS10"), "TLS 1.2 is the oldest version"),
        (tls("client_auth_type: RequestClientCert"), "no certificate is asked for"),
        (tls("curve_preferences: [X25519, CurveP256]"), "OpenSSL's own choice"),
        ("http_server_config: {http2: true}", "only HTTP/1.1 is spoken"),
        (f"basic_auth_users: {{a: {HASH}}}", "without TLS"),
        (f"{tls()}\nbasic_auth_users: {{a: {HASH.replace('$10$', '$15$')}}}", "each login takes seconds"),
    ],
)
def test_what_has_no_effect_or_a_price_is_accepted_and_said(text, said, folder):
    (warning,) = read(text, folder).warnings
    assert said in warning


@pytest.mark.parametrize(
    ("cert", "key", "said"),
    [
        ("none.pem", "server.key", "none.pem cannot be read: No such file or directory"),
        ("server.pem", "other.key", "hold no certificate with its key"),
        ("server.key", "server.pem", "hold no certificate with its key"),
    ],
)
def test_files_that_cannot_be_used_are_told_with_the_line(cert, key, said, folder):
    (told,) = problems(f"tls_server_config: {{cert_file: {cert}, key_file: {key}}}", folder)
    assert told.startswith("web.yml:1:1: tls_server_config: ")
    assert said in told


@pytest.mark.parametrize(("name", "value"), [("X-Frame-Options", "allow"), ("X-Content-Type-Options", "sniff")])
def test_headers_with_values_that_mean_nothing_are_refused(name, value, folder):
    (told,) = problems(f"http_server_config: {{headers: {{{name}: {value}}}}}", folder)
    assert f'found "{value}"; allowed:' in told


def test_other_headers_are_refused(folder):
    (told,) = problems("http_server_config: {headers: {X-Powered-By: magic}}", folder)
    assert "headers.X-Powered-By: unknown key (allowed here: Strict-Transport-Security" in told


def test_a_header_cannot_hold_another_one(folder):
    (told,) = problems('http_server_config: {headers: {Content-Security-Policy: "a\\r\\nSet-Cookie: b"}}', folder)
    assert "characters other than visible ASCII" in told


def test_suites_of_tls_13_alone_leave_nothing_for_older_versions(folder):
    protection = read(tls("cipher_suites: [TLS_AES_128_GCM_SHA256]"), folder)
    assert protection.tls is not None
    assert protection.tls.lowest is ssl.TLSVersion.TLSv1_3


def test_an_interval_of_zero_is_no_limit(folder):
    assert read("rate_limit: {interval: 0, burst: 5}", folder).rate_limit is None
