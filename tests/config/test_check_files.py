"""The files that a configuration refers to."""

from __future__ import annotations

import pytest

from comfyui_exporter.config.load import check_files, load
from comfyui_exporter.config.model import Config
from comfyui_exporter.config.secret_files import read_headers, read_secret


def _problems(folder, text):
    (folder / "c.yml").write_text(text)
    loaded = load(folder / "c.yml")
    return [str(problem).replace(f"{folder}/", "") for problem in check_files(loaded.config, loaded.document)]


def test_each_missing_file_is_named_with_its_key(tmp_path):
    text = (
        "servers:\n"
        "  - {name: a, url: https://a, headers_file: h, basic_auth: {username: u, password_file: p}, "
        "tls: {ca_file: c}}\n"
        "  - {name: b, url: https://b, bearer_token_file: t, tls: {cert_file: c, key_file: k}}\n"
        "push: {token_file: pt}\n"
        "webhooks: [{url: http://w, secret_file: s}]\n"
    )
    assert _problems(tmp_path, text) == [
        "c.yml:2:31: servers[0].headers_file: h cannot be read: No such file or directory",
        "c.yml:2:74: servers[0].basic_auth.password_file: p cannot be read: No such file or directory",
        "c.yml:2:99: servers[0].tls.ca_file: c cannot be read: No such file or directory",
        "c.yml:3:31: servers[1].bearer_token_file: t cannot be read: No such file or directory",
        "c.yml:3:59: servers[1].tls.cert_file: c cannot be read: No such file or directory",
        "c.yml:4:8: push.token_file: pt cannot be read: No such file or directory",
        "c.yml:5:28: webhooks[0].secret_file: s cannot be read: No such file or directory",
    ]


def test_files_that_hold_something_else_are_explained_without_their_text(tmp_path):
    (tmp_path / "secret").write_text("hunter2\nhunter3\n")
    text = (
        "servers:\n"
        "  - {name: a, url: https://a, headers_file: secret, tls: {ca_file: secret}}\n"
        "  - {name: b, url: https://b, bearer_token_file: secret, tls: {cert_file: secret}}\n"
    )
    assert _problems(tmp_path, text) == [
        "c.yml:2:31: servers[0].headers_file: line 1 is not a header; write `Name: value`",
        "c.yml:2:59: servers[0].tls.ca_file: the file holds no certificates in PEM format",
        "c.yml:3:31: servers[1].bearer_token_file: the file holds more than one line; a secret is one line",
        "c.yml:3:64: servers[1].tls.cert_file: the files hold no certificate with its key, unencrypted, in PEM format",
    ]


def test_good_files_are_no_problem_with_or_without_a_document(tmp_path):
    (tmp_path / "token").write_text("abc\n")
    assert _problems(tmp_path, "push: {token_file: token}") == []
    assert check_files(Config(push={"token_file": tmp_path / "token"})) == ()
    (problem,) = check_files(Config(push={"token_file": tmp_path / "none"}))
    assert str(problem) == f"push.token_file: {tmp_path}/none cannot be read: No such file or directory"


@pytest.mark.parametrize("content", [b"abc", b"abc\n", b"abc\r\n", b"\xef\xbb\xbfabc"])
def test_one_line_break_at_the_end_of_a_secret_is_not_part_of_it(tmp_path, content):
    (tmp_path / "s").write_bytes(content)
    assert read_secret(tmp_path / "s") == "abc"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n", "the file is empty"),
        (b"a\n\n", "the file holds more than one line; a secret is one line"),
        (b"\xff", "the file is not UTF-8 text"),
        (b"a" * 65_537, "the file is larger than 64 KiB"),
    ],
)
def test_a_file_that_cannot_be_a_secret_is_refused(tmp_path, content, message):
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(ValueError, match=f"^{message}$"):
        read_secret(tmp_path / "s")


def test_headers_are_read_line_by_line(tmp_path):
    (tmp_path / "h").write_text("# for the proxy\n\nX-Key: a: b \nCF-Access-Client-Id:1\n")
    assert read_headers(tmp_path / "h") == {"X-Key": "a: b", "CF-Access-Client-Id": "1"}
    (tmp_path / "h").write_text("A: 1\na: 2\n")
    with pytest.raises(ValueError, match='line 2 repeats the header "a"'):
        read_headers(tmp_path / "h")
