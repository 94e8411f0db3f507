"""The command line: which command runs, what it is given, how it ends."""

from __future__ import annotations

import subprocess
import sys
import types
from dataclasses import dataclass

import click
import pytest
from click.testing import CliRunner

from comfyui_exporter import __version__
from comfyui_exporter.cli.main import cli
from comfyui_exporter.config.flags import FLAGS


@pytest.fixture
def invoke(monkeypatch):
    """Runs a command line without the variables of the surroundings."""
    monkeypatch.setattr("comfyui_exporter.cli.logs.configure", lambda *_: None)

    def invoke(*args, env=None):
        monkeypatch.setattr("comfyui_exporter.cli.main.os", types.SimpleNamespace(environ=env or {}))
        return CliRunner().invoke(cli, args, prog_name="comfyui-exporter")

    return invoke


@pytest.fixture
def runs(monkeypatch):
    """The settings that the exporter was started with; it ends with 7."""
    started = []

    def run(settings):
        started.append(settings)
        return 7

    monkeypatch.setitem(sys.modules, "comfyui_exporter.app", types.SimpleNamespace(run=run))
    return started


@pytest.mark.parametrize("args", [(), ("run",)])
def test_run_is_the_default_command(invoke, runs, args):
    assert invoke(*args).exit_code == 7
    assert runs[0].config.servers[0].url == "http://127.0.0.1:8188"


def test_flags_reach_the_exporter_with_or_without_the_command(invoke, runs):
    flags = ("--comfyui.url", "a=http://x", "--comfyui.url=http://y", "--web.listen-address=:1", "--log.format", "json")
    invoke(*flags, env={"COMFYUI_EXPORTER_SHARD": "0/2"})
    invoke("run", *flags)
    for settings in runs:
        assert [server.name for server in settings.config.servers] == ["a", "y:80"]
        assert settings.web_listen_addresses == (("", 1),)
        assert settings.log_format == "json"
    assert str(runs[0].shard) == "0/2"


def test_settings_that_cannot_be_used_are_all_told_and_end_with_2(invoke, runs):
    result = invoke("--comfyui.url=x", "--log.level=loud", env={"COMFYUI_EXPORTER_SHARD": "3"})
    assert (result.exit_code, result.stdout, runs) == (2, "", [])
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [
        "--comfyui.url",
        "COMFYUI_EXPORTER_SHARD",
        "--log.level",
    ]


def test_a_misspelt_flag_is_answered_with_the_right_one_and_ends_with_2(invoke):
    result = invoke("--web.listen-adress", ":1")
    assert result.exit_code == 2
    assert "--web.listen-address" in result.stderr


def test_an_unknown_command_ends_with_2(invoke):
    assert invoke("rum").exit_code == 2


@pytest.mark.parametrize("args", [("--version",), ("run", "--version"), ("--log.level=info", "--version")])
def test_the_version_is_printed_as_prometheus_exporters_do(invoke, args):
    result = invoke(*args)
    assert result.exit_code == 0
    first, python, platform = result.stdout.splitlines()
    assert first == f"comfyui-exporter, version {__version__}"
    assert python.startswith("  python version:   3.")
    assert platform.startswith("  platform:         linux/")


@pytest.mark.parametrize("args", [("--help",), ("-h",), ("run", "--help")])
def test_help_shows_every_flag_with_its_variable_and_the_exit_codes(invoke, args):
    text = " ".join(invoke(*args).stdout.split())
    for flag in FLAGS:
        assert f"--{flag.name} " in text
        assert flag.variable in text
    assert "Exit codes: 0 fine 1 check-config found problems" in text


def test_help_does_not_load_the_heavy_modules():
    code = (
        "import sys; from comfyui_exporter.cli.main import cli\n"
        "try: cli(['--help'])\n"
        "except SystemExit: print(sorted({'pydantic', 'aiohttp', 'yaml', 'asyncio'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_the_package_can_be_run_as_a_module():
    result = subprocess.run(
        [sys.executable, "-m", "comfyui_exporter", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("comfyui-exporter, version ")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "c.yml"
    path.write_text("servers: [{name: a, url: http://a}, {name: b, url: http://b}]\nshard: 0/2\n")
    return path


def test_a_good_file_is_ok_and_its_warnings_are_told(invoke, file):
    file.write_text("servers: [{name: a, url: http://a}, {name: b, url: http://a}]")
    result = invoke("check-config", str(file))
    assert (result.exit_code, result.stdout) == (0, f"{file}: OK, 2 servers\n")
    assert result.stderr == (
        f'{file}: warning: servers "a" and "b" have the same url, so each of its jobs is counted for both\n'
    )


def test_a_file_without_servers_says_what_is_watched_then(invoke, file):
    file.write_text("")
    assert invoke("check-config", str(file)).stdout == (
        f"{file}: OK, 0 servers (http://127.0.0.1:8188 is watched unless --comfyui.url or COMFYUI_URL name others)\n"
    )


def test_server_files_are_read_too(invoke, file):
    servers = file.parent / "servers.json"
    servers.write_text('[{"targets": ["b:8188", "c:8188"]}]')
    file.write_text("servers: [{name: a, url: http://a}]\nserver_files: [servers.json]")
    result = invoke("check-config", str(file))
    assert (result.exit_code, result.stdout) == (0, f"{file}: OK, 3 servers\n")
    servers.write_text('[{"targets": ["b:8188"], "labels": {"server": "a"}}]')
    result = invoke("check-config", str(file))
    assert (result.exit_code, 'server name "a" is taken' in result.stderr) == (1, True)
    servers.write_text("[")
    result = invoke("check-config", str(file))
    assert (result.exit_code, result.stderr) == (1, f"{servers}: line 1: is not valid JSON\n{file}: 1 problem\n")
    servers.unlink()
    file.write_text("server_files: [servers.json]")
    assert invoke("check-config", str(file)).stdout == f"{file}: OK, 0 servers\n"


def test_all_problems_of_a_file_are_told_and_end_with_1(invoke, file):
    file.write_text("poll_interval: 1ms\nshard: 1\n")
    result = invoke("check-config", str(file))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f'{file}:1:1: poll_interval: found "1ms"; allowed: 100ms to 1h\n'
        f'{file}:2:1: shard: expected i/n with 0 <= i < n such as "0/2", found the number 1\n'
        f"{file}: 2 problems\n"
    )


def test_a_secret_file_that_is_missing_is_a_problem(invoke, file):
    file.write_text("push: {token_file: none}")
    result = invoke("check-config", str(file))
    assert result.exit_code == 1
    assert f"{file}:1:8: push.token_file: " in result.stderr


@dataclass
class Result:
    server: str
    ok: bool
    version: str | None = None
    latency_s: float | None = None
    queue_remaining: int | None = None
    error: str | None = None


def test_probing_shows_a_table_and_ends_with_1_if_a_server_does_not_answer(invoke, file, monkeypatch):
    answers = [Result("a", True, "0.3.1", 0.0123, 4), Result("b", False, error="refused\n")]

    async def probe_all(config):
        return [answer for answer in answers if answer.server in {server.name for server in config.servers}]

    monkeypatch.setitem(sys.modules, "comfyui_exporter.probe", types.SimpleNamespace(probe_all=probe_all))
    result = invoke("check-config", "--probe", str(file))
    assert result.exit_code == 1
    assert result.stdout == (
        f"{file}: OK, 2 servers\n"
        "SERVER  STATE   VERSION  LATENCY  QUEUE  ERROR\n"
        "a       ok      0.3.1    12ms     4\n"
        "b       failed  -        -        -      refused\\n\n"
    )
    answers[1] = Result("b", True, "0.3.1", 0.01, 0)
    assert invoke("check-config", "--probe", str(file)).exit_code == 0


@dataclass
class Options:
    host: str = "127.0.0.1"
    port: int = 8188
    profile: str = "modern"
    speed: float = 1.0
    seed: int = 0
    rate: float = 0.0
    failure_rate: float = 0.0
    preload_history: int = 0
    preload_pending: int = 0
    graph_bytes: int = 0


@pytest.fixture
def simulators(monkeypatch):
    served = []

    async def serve(options):
        if options.port == 1:
            raise PermissionError(13, "Permission denied")
        if options.profile == "none":
            raise ValueError("unknown profile 'none': choose one of old, new")
        served.append(options)

    module = types.SimpleNamespace(SimulateOptions=Options, serve=serve)
    monkeypatch.setitem(sys.modules, "comfyui_exporter.simulator", module)
    monkeypatch.setitem(sys.modules, "comfyui_exporter.simulator.serve", module)
    return served


def test_simulate_gives_the_simulator_what_was_typed_and_leaves_it_the_rest(invoke, simulators):
    typed = "simulate --port 0 --host ::1 --speed 10 --rate 30 --failure-rate 0.1 --profile old --seed 7"
    assert invoke("simulate").exit_code == 0
    assert invoke(*typed.split(), "--history", "5", "--pending", "6", "--graph-bytes", "100").exit_code == 0
    assert simulators == [Options(), Options("::1", 0, "old", 10.0, 7, 30.0, 0.1, 5, 6, 100)]


def test_simulate_says_why_it_cannot_listen(invoke, simulators):
    result = invoke("simulate", "--port", "1")
    assert (result.exit_code, result.stderr) == (1, "cannot listen on 127.0.0.1:1: Permission denied\n")


def test_simulate_lists_the_profiles_if_it_knows_not_the_one_that_was_typed(invoke, simulators):
    result = invoke("simulate", "--profile", "none")
    assert (result.exit_code, result.stderr) == (2, "unknown profile 'none': choose one of old, new\n")


def test_simulate_refuses_a_share_above_1(invoke, simulators):
    assert invoke("simulate", "--failure-rate", "2").exit_code == 2


def test_every_command_explains_itself():
    for command in cli.commands.values():
        assert isinstance(command, click.Command)
        assert command.help
        assert command.short_help
