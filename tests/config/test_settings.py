"""Flags, environment and file come together."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from comfyui_exporter.config.errors import ConfigError
from comfyui_exporter.config.flags import FLAGS
from comfyui_exporter.config.rules import Shard
from comfyui_exporter.config.settings import resolve_settings


def _problems(flags=None, environ=None):
    with pytest.raises(ConfigError) as caught:
        resolve_settings(flags or {}, environ or {})
    return str(caught.value).splitlines()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "c.yml"
    path.write_text("poll_interval: 5s\nshard: 1/2\nservers:\n  - {name: gpu0, url: http://a:1}\n")
    return str(path)


def test_without_anything_the_local_comfyui_is_watched():
    settings = resolve_settings({}, {"HOME": "/home/me"})
    assert [(server.name, server.url) for server in settings.config.servers] == [
        ("127.0.0.1:8188", "http://127.0.0.1:8188")
    ]
    assert settings.config_file is None
    assert settings.web_listen_addresses == (("127.0.0.1", 9188),)
    assert settings.push_listen_address == ("127.0.0.1", 8329)
    assert (settings.telemetry_path, settings.external_url, settings.web_config_file) == ("/metrics", None, None)
    assert settings.trusted_networks == ()
    assert settings.state_dir == Path("/home/me/.local/state/comfyui-exporter")
    assert settings.store_url == "sqlite:////home/me/.local/state/comfyui-exporter/comfyui-exporter.db"
    assert (settings.shard, settings.log_level, settings.log_format) == (Shard(0, 1), "info", "logfmt")
    assert settings.warnings == ()


def test_flag_beats_environment_beats_file(file):
    variable = {"COMFYUI_EXPORTER_COMFYUI_POLL_INTERVAL": "3s", "COMFYUI_EXPORTER_CONFIG_FILE": file}
    assert resolve_settings({}, {"COMFYUI_EXPORTER_CONFIG_FILE": file}).config.poll_interval == 5
    assert resolve_settings({}, variable).config.poll_interval == 3
    assert resolve_settings({"comfyui.poll-interval": ["1s"]}, variable).config.poll_interval == 1
    assert resolve_settings({"shard": ["0/3"]}, variable).config.shard == Shard(0, 3)
    assert resolve_settings({}, variable).shard == Shard(1, 2)


def test_servers_of_flags_or_environment_are_added_to_those_of_the_file(file):
    def names(flags, environ):
        return [server.name for server in resolve_settings(flags, environ).config.servers]

    config = {"config.file": [file]}
    assert names(config, {}) == ["gpu0"]
    assert names(config, {"COMFYUI_URL": "http://b, x=http://c\nhttp://[::1]:8188"}) == [
        *("gpu0", "b:80", "x", "[::1]:8188"),
    ]
    assert names(config | {"comfyui.url": ["y=http://d", "http://e"]}, {}) == ["gpu0", "y", "e:80"]
    assert names({}, {"COMFYUI_URL": "  "}) == ["127.0.0.1:8188"]


def test_a_flag_hides_comfyui_url_and_says_so():
    settings = resolve_settings({"comfyui.url": ["http://a"]}, {"COMFYUI_URL": "http://b"})
    assert [server.name for server in settings.config.servers] == ["a:80"]
    assert settings.warnings == ("COMFYUI_URL is ignored, as --comfyui.url is given",)


def test_a_name_that_is_taken_names_both_who_want_it(file):
    assert _problems({"config.file": [file], "comfyui.url": ["gpu0=http://b", "x=http://c", "x=http://d"]}) == [
        (
            f'--comfyui.url: server name "gpu0" is taken by servers[0] in line 4 of {file}; '
            "choose another one with NAME=URL"
        ),
        '--comfyui.url: server name "x" is taken by --comfyui.url "x=http://c"; choose another one with NAME=URL',
    ]


def test_all_problems_come_at_once_with_the_name_of_the_flag_or_variable(tmp_path):
    (tmp_path / "c.yml").write_text("shard: x\npush: {token_file: none}")
    flags = {
        "config.file": [f"{tmp_path}/c.yml"],
        "web.listen-address": ["9188", "::1:9188", "*:9188", "a:99999", "[x]:1", ":80", ":80"],
        "web.telemetry-path": ["/api/metrics"],
        "web.external-url": ["exporter.example.org"],
        "web.config.file": [f"{tmp_path}/none.yml"],
        "web.trusted-networks": ["10.0.0.1/8,x"],
        "comfyui.url": ["localhost:8188", " =http://a"],
        "log.level": ["loud"],
    }
    environ = {
        "COMFYUI_EXPORTER_PUSH_LISTEN_ADDRESS": "127.0.0.1",
        "COMFYUI_EXPORTER_COMFYUI_POLL_INTERVAL": "2",
        "COMFYUI_EXPORTER_STORE_URL": "sqlite:x",
        "COMFYUI_EXPORTER_LOG_FORMAT": "xml",
    }
    anywhere = "allowed: HOST:PORT or :PORT with a port of 0 to 65535, such as :9188"
    assert [line.replace(f"{tmp_path}/", "") for line in _problems(flags, environ)] == [
        'c.yml:1:1: shard: found "x"; allowed: i/n with 0 <= i < n <= 9999, such as 0/2 and 1/2 for two replicas',
        f'--web.listen-address: found "9188"; {anywhere}; did you mean :9188?',
        '--web.listen-address: found "::1:9188"; an IPv6 address needs brackets: did you mean [::1]:9188?',
        '--web.listen-address: "*" is not a host name or IP address; did you mean :9188?',
        f'--web.listen-address: found "a:99999"; {anywhere}',
        '--web.listen-address: "[x]" is not an IPv6 address; allowed: HOST:PORT, such as [::1]:9188',
        f'COMFYUI_EXPORTER_PUSH_LISTEN_ADDRESS: found "127.0.0.1"; {anywhere}',
        '--comfyui.url: "localhost:8188" does not start with http:// or https://; did you mean http://localhost:8188?',
        '--comfyui.url: found " "; allowed: 1 to 128 visible characters, no spaces around them',
        'COMFYUI_EXPORTER_STORE_URL: "sqlite:x" has too few slashes or no path; did you mean sqlite:///x?',
        (
            'COMFYUI_EXPORTER_COMFYUI_POLL_INTERVAL: "2" is not a duration: write whole numbers with units, largest '
            "first, such as 500ms, 2s or 1h30m; did you mean 2s?; allowed: 100ms to 1h"
        ),
        (
            '--web.external-url: "exporter.example.org" does not start with http:// or https://; '
            "did you mean http://exporter.example.org?"
        ),
        '--web.trusted-networks: "10.0.0.1/8" has bits set after its prefix; did you mean 10.0.0.0/8?',
        '--web.trusted-networks: found "x"; allowed: networks such as 10.0.0.0/8 or fd00::/8, or single addresses',
        '--web.telemetry-path: found "/api/metrics", but /api is taken by other endpoints',
        '--web.config.file: "none.yml" cannot be read: No such file or directory',
        '--log.level: found "loud"; allowed: debug, info, warn or error',
        'COMFYUI_EXPORTER_LOG_FORMAT: found "xml"; allowed: logfmt or json',
        '--web.listen-address: ":80" is given twice; an address can be listened on once',
    ]


def test_files_that_the_configuration_needs_have_to_be_there(tmp_path):
    (tmp_path / "c.yml").write_text("push: {token_file: none}")
    assert _problems({"config.file": [f"{tmp_path}/c.yml"]}) == [
        f"{tmp_path}/c.yml:1:8: push.token_file: {tmp_path}/none cannot be read: No such file or directory"
    ]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9188", ("127.0.0.1", 9188)),
        (":9188", ("", 9188)),
        ("[::1]:9188", ("::1", 9188)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_listen_addresses_are_read_as_prometheus_exporters_do(text, address):
    assert resolve_settings({"web.listen-address": [text]}, {}).web_listen_addresses == (address,)


def test_variables_of_repeatable_flags_take_several_values():
    environ = {
        "COMFYUI_EXPORTER_WEB_LISTEN_ADDRESS": "127.0.0.1:1, [::1]:1",
        "COMFYUI_EXPORTER_WEB_TRUSTED_NETWORKS": "10.0.0.0/8 fd00::/8",
    }
    settings = resolve_settings({}, environ)
    assert settings.web_listen_addresses == (("127.0.0.1", 1), ("::1", 1))
    assert settings.trusted_networks == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def test_an_empty_push_address_turns_it_off_and_other_empty_values_mean_the_default():
    variable = "COMFYUI_EXPORTER_PUSH_LISTEN_ADDRESS"
    assert resolve_settings({"push.listen-address": [""]}, {variable: ":1"}).push_listen_address is None
    assert resolve_settings({}, {variable: ""}).push_listen_address is None
    assert resolve_settings({"push.listen-address": [":2"]}, {variable: ""}).push_listen_address == ("", 2)
    settings = resolve_settings({"log.level": [""], "web.external-url": [""]}, {"COMFYUI_EXPORTER_SHARD": ""})
    assert (settings.log_level, settings.external_url, settings.shard) == ("info", None, Shard(0, 1))


def test_the_state_folder_is_the_one_that_systemd_made():
    assert resolve_settings({}, {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "HOME": "/x"}).state_dir == Path(
        "/var/lib/a"
    )
    assert resolve_settings({"state.dir": ["/s"]}, {"STATE_DIRECTORY": "/var/lib/a"}).state_dir == Path("/s")
    assert resolve_settings({}, {}).state_dir == Path("/var/lib/comfyui-exporter")


def test_jobs_are_kept_in_the_state_folder_unless_a_store_is_chosen_by_flag_environment_or_file(tmp_path):
    config, url = tmp_path / "c.yml", "COMFYUI_EXPORTER_STORE_URL"

    def store(flags, environ, text=""):
        config.write_text(text)
        settings = resolve_settings({"config.file": [str(config)], **flags}, environ)
        assert settings.config.store.url == settings.store_url
        return settings.store_url

    assert store({"state.dir": ["/s"]}, {}) == "sqlite:////s/comfyui-exporter.db"
    assert store({"state.dir": ["s"]}, {}, "store: {retention: 1d}") == "sqlite:///s/comfyui-exporter.db"
    assert store({"state.dir": ["/s"]}, {}, "store: {url: 'sqlite:///x.db'}") == "sqlite:///x.db"
    assert store({}, {url: "memory"}, "store: {url: 'sqlite:///x.db'}") == "memory"
    assert store({"store.url": ["postgres://me@db/x"]}, {url: "memory"}) == "postgresql://me@db/x"


def test_unknown_variables_are_told_except_those_of_kubernetes_and_of_our_clients():
    environ = {
        "COMFYUI_EXPORTER_URL": "http://127.0.0.1:9188",
        "COMFYUI_EXPORTER_URL_TOKEN_FILE": "token",
        "COMFYUI_EXPORTER_URL_INSECURE": "true",
        "COMFYUI_EXPORTER_SERVICE_HOST": "10.0.0.1",
        "COMFYUI_EXPORTER_SERVICE_PORT_HTTP": "9188",
        "COMFYUI_EXPORTER_PORT": "tcp://10.0.0.1:9188",
        "COMFYUI_EXPORTER_PORT_9188_TCP_ADDR": "10.0.0.1",
        "COMFYUI_EXPORTER_WEB_LISTEN_ADRESS": ":1",
    }
    assert resolve_settings({}, environ).warnings == (
        'unknown variable "COMFYUI_EXPORTER_WEB_LISTEN_ADRESS"; did you mean COMFYUI_EXPORTER_WEB_LISTEN_ADDRESS?',
    )


def test_two_servers_with_one_url_are_told(tmp_path):
    (tmp_path / "c.yml").write_text("servers: [{name: a, url: http://a}, {name: b, url: http://a}]")
    settings = resolve_settings({"config.file": [f"{tmp_path}/c.yml"], "state.dir": ["/s"]}, {})
    assert settings.warnings == ('servers "a" and "b" have the same url, so each of its jobs is counted for both',)


def test_reloading_reads_the_file_again_and_keeps_flags(file):
    settings = resolve_settings({"config.file": [file], "comfyui.url": ["x=http://x"]}, {})
    Path(file).write_text("poll_interval: 7s")
    assert settings.reloaded().config.poll_interval == 7
    assert [server.name for server in settings.reloaded().config.servers] == ["x"]
    Path(file).write_text("poll_interval: 7")
    with pytest.raises(ConfigError):
        settings.reloaded()
    assert settings.config.poll_interval == 5


def test_every_flag_has_a_variable_of_its_own():
    assert len({flag.variable for flag in FLAGS}) == len(FLAGS)
    assert {flag.variable for flag in FLAGS} >= {"COMFYUI_EXPORTER_WEB_CONFIG_FILE", "COMFYUI_EXPORTER_CONFIG_FILE"}


def test_a_password_that_the_list_of_processes_shows_is_told_and_not_repeated():
    url = "postgresql://comfyui:hunter2@db.example.org/comfyui"
    (warning,) = resolve_settings({"store.url": [url], "state.dir": ["/s"]}, {}).warnings
    assert warning.startswith("--store.url has a password, which others on this host can see")
    assert "hunter2" not in warning
    for quiet in ("postgresql://comfyui@db.example.org/comfyui", "sqlite:////a:b@c"):
        assert resolve_settings({"store.url": [quiet], "state.dir": ["/s"]}, {}).warnings == ()
    in_environment = {"COMFYUI_EXPORTER_STORE_URL": url}
    assert resolve_settings({"state.dir": ["/s"]}, in_environment).warnings == ()
