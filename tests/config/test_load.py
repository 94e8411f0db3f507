"""A good file becomes a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from comfyui_exporter.config.errors import ConfigError
from comfyui_exporter.config.load import load_config, parse
from comfyui_exporter.config.model import Config
from comfyui_exporter.config.rules import Shard
from comfyui_exporter.jobs.update import ProgressStatus


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}", "servers:\n", "\ufeff", "null"])
def test_an_empty_file_means_the_defaults(config_of, text):
    assert config_of(text) == Config()


def test_the_defaults_are_those_of_the_documentation():
    config = Config()
    assert (config.poll_interval, config.request_timeout, config.job_grace) == (2, 10, 30)
    assert (config.keep_finished, config.max_finished, config.registration_timeout) == (900, 10_000, 600)
    assert config.max_response_size == 256 * 1024 * 1024
    assert config.shard == Shard(0, 1)
    assert (config.store.url, config.store.retention) == (None, 90 * 86_400)
    assert (config.push.max_clients, config.push.queue_size) == (10_000, 64)
    limits = config.limits
    assert (limits.job_series, limits.failed_series, limits.label_values, limits.family_series) == (20, 10, 50, 1000)
    buckets = config.buckets
    assert (buckets.job_duration[0], buckets.job_duration[-1]) == (1, 7200)
    assert (buckets.job_queue[0], buckets.job_queue[-1]) == (0.1, 21_600)
    assert (buckets.node_duration[0], buckets.node_duration[-1]) == (0.01, 3600)
    assert (buckets.step_duration[0], buckets.step_duration[-1]) == (0.01, 60)
    assert all(type(bound) is float for bounds in buckets.model_dump().values() for bound in bounds)


FULL = r"""
poll_interval: 500ms
request_timeout: 1m30s
servers:
  - name: gpu0
    url: HTTPS://GPU.example.org/comfy/
    basic_auth: {username: me, password_file: secrets/pw}
    tls: {ca_file: /ca.pem, insecure_skip_verify: no}
    client_id:
    stall_timeout: 5m
    job_timeout: 2h
  - url: http://10.0.0.1:8188
  - {url: "http://[::1]:8188"}
  - {url: https://plain}
server_files: ["servers/*.yml", /etc/other.json]
shard: 1/3
job_types: [{job_type: video, node_types: ["VHS_*"]}]
job_labels: [project]
failure_patterns: [{pattern: missing_lora, title: LoRA missing, regex: 'lora \w+ not'}]
buckets: {job_duration: [1, 2.5]}
keep_finished: 0
max_response_size: 1GiB
store: {url: memory, retention: 15d}
push: {allowed_origins: ["https://A.example.org"], token_file: token}
webhooks: [{url: "https://hooks.example.org/x", secret_file: /s, statuses: [timeout]}]
limits: {job_series: 0}
"""


def test_every_key_of_a_full_file_arrives(config_of):
    config = config_of(FULL)
    assert (config.poll_interval, config.request_timeout) == (0.5, 90)
    first = config.servers[0]
    assert (first.name, first.url) == ("gpu0", "https://gpu.example.org/comfy")
    assert first.basic_auth is not None
    assert first.basic_auth.password_file == Path("/etc/comfyui/secrets/pw")
    assert first.tls is not None
    assert (first.tls.ca_file, first.tls.insecure_skip_verify) == (Path("/ca.pem"), False)
    assert (first.client_id, first.stall_timeout, first.job_timeout) == (None, 300, 7200)
    assert [server.name for server in config.servers[1:]] == ["10.0.0.1:8188", "[::1]:8188", "plain:443"]
    assert config.server_files == ("/etc/comfyui/servers/*.yml", "/etc/other.json")
    assert config.shard == Shard(1, 3)
    assert config.job_types[0].node_types == ("VHS_*",)
    assert config.job_labels == ("project",)
    assert config.failure_patterns[0].regex == r"lora \w+ not"
    assert config.buckets.job_duration == (1.0, 2.5)
    assert config.buckets.estimate == Config().buckets.estimate
    assert config.keep_finished == 0
    assert config.max_response_size == 1 << 30
    assert config.store.retention == 15 * 86_400
    assert config.push.allowed_origins == ("https://a.example.org",)
    assert config.webhooks[0].statuses == (ProgressStatus.TIMEOUT,)
    assert config.limits.job_series == 0


def test_servers_may_share_keys_by_alias_and_override_them(config_of):
    config = config_of(
        "servers:\n"
        "  - &base {name: a, url: http://a, stall_timeout: 1m, job_timeout: 1h}\n"
        "  - {<<: *base, name: b, url: http://b, job_timeout: }\n"
        "  - {name: c, <<: [{url: http://c}, *base]}\n"
    )
    second, third = config.servers[1:]
    assert (second.name, second.url, second.stall_timeout, second.job_timeout) == ("b", "http://b", 60, None)
    assert (third.name, third.url, third.job_timeout) == ("c", "http://c", 3600)


def test_text_that_looks_like_a_date_is_text(config_of):
    assert config_of("servers: [{name: 2026-01-01, url: http://a}]").servers[0].name == "2026-01-01"


def test_a_folder_with_wildcards_in_its_name_is_taken_literally(config_of):
    assert config_of("server_files: [x/*.yml]", Path("/etc/[a]")).server_files == ("/etc/[[]a]/x/*.yml",)


def test_a_program_may_give_seconds_and_is_told_of_contradictions():
    assert Config(poll_interval=0.25, servers=[{"url": "http://a"}]).servers[0].name == "a:80"
    with pytest.raises(ValidationError, match=r'servers\[1\]: server name "a:80" is taken by servers\[0\]'):
        Config(servers=[{"url": "http://a"}, {"url": "http://a/b"}])
    with pytest.raises(ValidationError, match="frozen"):
        Config().poll_interval = 3


def test_a_file_is_read_with_its_folder_as_the_start_of_paths(tmp_path):
    (tmp_path / "c.yml").write_text("push: {token_file: t}")
    assert load_config(tmp_path / "c.yml").push.token_file == tmp_path / "t"


words = st.sampled_from(
    [
        *(
            "servers",
            "url",
            "name",
            "http://a",
            "poll_interval",
            "2s",
            "tls",
            "buckets",
            "shard",
            "0/1",
            "regex",
            "limits",
        ),
        *(
            ": ",
            "- ",
            "\n",
            "  ",
            "{",
            "}",
            "[",
            "]",
            ",",
            "&a ",
            "*a",
            "<<",
            "!!",
            "!x ",
            "|",
            ">",
            "?",
            '"',
            "'",
            "\\",
            "%",
        ),
        *(
            "1",
            "null",
            "yes",
            "1e999",
            "0b_",
            "=",
            "2024-99-99",
            "\x00",
            "\ud800",
            "\\ud800",
            "\U0001f600",
            "\t",
            "#",
            "@",
        ),
    ]
)
texts = st.one_of(st.text(max_size=60), st.lists(words, max_size=25).map("".join))


def _outcome(content):
    try:
        return parse(content, "c.yml", Path("/x")).config
    except ConfigError as error:
        return error


@settings(deadline=None)  # an example of three thousand levels takes its time on a busy machine
@given(texts)
@example('a: "\\UFFFFFFFF"')
@example('name: "\\ud800"')
@example("%YAML 1." + "1" * 5000 + "\n---\na")
@example("shard: 1" + "0" * 5000)
@example("shard: " + "1:" * 3000 + "1")
@example("buckets: {job_duration: [1e400, .nan]}")
@example("buckets: {job_duration: [0b_]}")
@example("[" * 3000)
@example("- " * 3000)
@example("a: &a {<<: *a}")
@example("&a [*a]")
@example("? [a]\n: b")
@example("!!python/object:os.system x")
@example("servers: !!set {a}")
@example("a: !!int x\nb: !!binary x\nc: !!float ''\nd: !!bool maybe")
@example("failure_patterns: [{regex: 'a{9999999999999}'}, {regex: '[[a'}]")
def test_any_text_gives_a_configuration_or_a_config_error(text):
    result = _outcome(text.encode("utf-8", "surrogatepass"))
    assert isinstance(result, Config | ConfigError)
    if isinstance(result, ConfigError):
        assert result.problems
        assert len(str(result).splitlines()) == len(result.problems)
        assert str(result).replace("\n", "").isprintable()


@given(st.binary(max_size=60))
def test_any_bytes_give_a_configuration_or_a_config_error(content):
    result = _outcome(content)
    assert isinstance(result, Config) or result.problems
