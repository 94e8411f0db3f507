"""URLs that are called, hosts that may be named, and secrets that sign."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from comfyui_exporter.config.errors import ConfigError
from comfyui_exporter.config.load import parse
from comfyui_exporter.config.secret_files import read_webhook_secret
from comfyui_exporter.config.webhook_urls import hook_url, host_pattern, parse_hook_url


@pytest.mark.parametrize(
    "url",
    [
        "http://a",
        "https://studio.example.org/hooks/",
        "https://H:8443/x?api=1&sig=%2F",
        "http://[::1]:9/x",
        "http://a?b",
    ],
)
def test_a_url_is_kept_as_it_was_written(url):
    assert hook_url(url) == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("studio.example.org/hook", "does not start with http:// or https://"),
        ("https://user:hunter2@studio.example.org/", "carries credentials"),
        ("https://studio.example.org/#hunter2", "is no URL"),
        ("https://studio.example.org:0/hunter2", "has no valid port"),
        ("https://-x/hunter2", "has no valid host name"),
        ("https://[::g]/hunter2", "is no URL"),
        ("https://[1:2]/hunter2", "has no valid IPv6 address"),
        ("https://127.1/hunter2", "has a number that is no IPv4 address"),
        (f"https://a/hunter2{'x' * 2000}", "is longer than 2000 characters"),
    ],
)
def test_what_cannot_be_called_is_explained_without_repeating_it(url, why):
    with pytest.raises(ValueError, match=f"^{why}") as refused:
        hook_url(url)
    assert "hunter2" not in str(refused.value)


@given(st.text(st.characters(max_codepoint=127) | st.sampled_from("@:/[]?#\\.%"), max_size=40))
@example("http://a\\@b")
@example("http://a:80@b")
@example("http://[::ffff:1.2.3.4]:1")
def test_whatever_passes_means_the_same_to_the_program_that_connects(rest):
    url = f"http://{rest}"
    try:
        parsed = parse_hook_url(url)
    except ValueError:
        return
    seen = URL(url, encoded=True)
    assert (seen.scheme, seen.port, seen.user, seen.password) == (parsed.scheme, parsed.port, None, None)
    host = (seen.raw_host or "").lower()
    assert host == parsed.host or parse_hook_url(f"http://[{host}]").host == parsed.host


@pytest.mark.parametrize(
    ("text", "pattern"),
    [("Hooks.Example.org", "hooks.example.org"), ("*.example.org", "*.example.org"), ("10.0.0.1", "10.0.0.1"),
     ("::FFFF:127.0.0.1", "::ffff:7f00:1"), ("localhost", "localhost")],
)  # fmt: skip
def test_hosts_are_compared_in_one_form(text, pattern):
    assert host_pattern(text) == pattern


@pytest.mark.parametrize(
    "text", ["*", "*.org", "*.10.0.0.1", "a.*", "*a.example.org", "http://a", "a:80", "a/b", "", "127.1"]
)
def test_what_would_allow_more_than_it_says_is_refused(text):
    with pytest.raises(ValueError, match="allowed: a host such as"):
        host_pattern(text)


def test_the_same_url_twice_is_a_contradiction(tmp_path):
    text = b"webhooks: [{url: http://a/x}, {url: http://b}, {url: http://a/x, statuses: [failed]}]"
    with pytest.raises(ConfigError, match=r"webhooks\[2\]: URL \"http://a/x\" is taken by webhooks\[0\]; list all"):
        parse(text, "c.yml", tmp_path)


@pytest.mark.parametrize(
    ("content", "why"),
    [("whsec_a b", "what follows whsec_ is not base64"), ("whsec_abc", "is not base64"), ("", "the file is empty")],
)
def test_a_secret_that_libraries_could_not_read_is_refused(tmp_path, content, why):
    (tmp_path / "s").write_text(content)
    with pytest.raises(ValueError, match=why):
        read_webhook_secret(tmp_path / "s")


def test_a_secret_is_text_or_a_key(tmp_path):
    for secret in ("a b c", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"):
        (tmp_path / "s").write_text(f"{secret}\n")
        assert read_webhook_secret(tmp_path / "s") == secret
