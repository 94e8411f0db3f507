"""Exporter and relay as processes, with TLS, passwords and client certificates between them."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import bcrypt
import pytest

from certificates import own, signed

PROGRAM = [sys.executable, "-m", "comfyui_exporter"]
PATIENCE = 30.0
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("COMFYUI")}


@contextmanager
def running(*arguments: str, ports: int = 1) -> Iterator[list[str]]:
    """A process, and the addresses that it listens on."""
    with subprocess.Popen([*PROGRAM, *arguments], stderr=subprocess.PIPE, text=True, env=CLEAN) as process:
        assert process.stderr is not None
        try:
            addresses: list[str] = []
            for line in process.stderr:
                if found := re.search(r"msg=listening address=(\S+)", line):
                    addresses.append(found[1])
                    if len(addresses) == ports:
                        break
            assert len(addresses) == ports
            yield addresses
        finally:
            process.kill()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("protected")
    authority = own(folder, "authority")
    own(folder, "server")
    signed(folder, "relay", authority, "DNS:relay.lan")
    hashed = bcrypt.hashpw(b"sesame", bcrypt.gensalt(4)).decode()
    tls = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
    verified = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: authority.pem\n"
    users = f"basic_auth_users:\n  relay: {hashed}\n"
    (folder / "exporter.yml").write_text(tls + verified + users)
    (folder / "relay.yml").write_text(tls + users)
    (folder / "relay.auth").write_text("relay:sesame\n")
    return folder


async def test_a_relay_follows_a_protected_exporter_and_is_protected_itself(folder: Path) -> None:
    exporter = ["--store.url", "memory", "--comfyui.url", "http://127.0.0.1:1", "--comfyui.poll-interval", "100ms"]
    addresses = ["--web.listen-address", "127.0.0.1:0", "--push.listen-address", "127.0.0.1:0"]
    with running(*exporter, *addresses, "--web.config.file", str(folder / "exporter.yml"), ports=2) as (_, push):
        relay = ["relay", "--upstream", f"wss://{push}", "--push.listen-address", "127.0.0.1:0"]
        files = {"ca": "server.pem", "cert": "relay.pem", "key": "relay.key", "basic-auth": "relay.auth"}
        given = [text for name, file in files.items() for text in (f"--upstream.{name}-file", str(folder / file))]
        with running(*relay, *given, "--web.config.file", str(folder / "relay.yml")) as (address,):
            trust = ssl.create_default_context(cafile=str(folder / "server.pem"))
            connector = aiohttp.TCPConnector(ssl=trust)
            headers = {"Authorization": "Basic cmVsYXk6c2VzYW1l"}
            async with aiohttp.ClientSession(f"https://{address}", connector=connector, headers=headers) as session:
                async with session.ws_connect("/") as socket:
                    # The relay tells its clients that all is told once its upstream has.
                    told = ""
                    while told != "snapshot_end":
                        told = (await socket.receive_json(timeout=PATIENCE))["type"]
                async with session.get("/-/ready") as ready:
                    assert ready.status == 200
                async with session.get("/metrics", headers={"Authorization": ""}) as refused:
                    assert refused.status == 401
            asked = await asyncio.to_thread(healthcheck, f"https://{address}/-/ready")
            assert asked == (0, "200 comfyui-exporter relay is ready.\n")


def healthcheck(*url: str, **env: str) -> tuple[int, str]:
    command = [*PROGRAM, "healthcheck", *url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=CLEAN | env)
    return done.returncode, done.stdout + done.stderr


def test_a_health_check_asks_with_tls_where_the_web_config_of_the_environment_has_it(folder: Path) -> None:
    exporter = ["--store.url", "memory", "--comfyui.url", "http://127.0.0.1:1", "--comfyui.poll-interval", "100ms"]
    addresses = ["--web.listen-address", "127.0.0.1:0", "--push.listen-address", ""]
    with running(*exporter, *addresses, "--web.config.file", str(folder / "relay.yml")) as (address,):
        env = {
            "COMFYUI_EXPORTER_WEB_LISTEN_ADDRESS": address,
            "COMFYUI_EXPORTER_WEB_CONFIG_FILE": str(folder / "relay.yml"),
        }
        # Each try takes longer than the exporter needs to become ready.
        answers = [healthcheck(**env) for _ in range(5)]
    assert answers[-1] == (0, "200 comfyui-exporter is ready.\n")
    assert healthcheck(**env | {"COMFYUI_EXPORTER_WEB_CONFIG_FILE": str(folder / "none.yml")})[0] == 1


def test_a_web_config_that_cannot_be_used_is_told_and_nothing_is_served(folder: Path) -> None:
    (folder / "bad.yml").write_text("tls_server_config: {cert_file: none.pem, key_file: server.key}\n")
    for command in (["run", "--store.url", "memory"], ["relay", "--upstream", "ws://127.0.0.1:1"]):
        done = subprocess.run(
            [*PROGRAM, *command, "--web.config.file", str(folder / "bad.yml")],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env=CLEAN,
        )
        assert done.returncode == 2
        assert done.stderr == (
            f"{folder}/bad.yml:1:1: tls_server_config: {folder}/none.pem cannot be read: No such file or directory\n"
        )


def test_check_config_checks_web_configs(folder: Path) -> None:
    def check(*arguments: str) -> tuple[int, str]:
        command = [*PROGRAM, "check-config", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=CLEAN)
        return done.returncode, done.stdout + done.stderr

    good = str(folder / "relay.yml")
    assert check("--web.config.file", good) == (0, f"{good}: OK, TLS, 1 user\n")
    (folder / "c.yml").write_text("servers: [{url: http://a}]")
    code, said = check(str(folder / "c.yml"), "--web.config.file", good)
    assert (code, said) == (0, f"{good}: OK, TLS, 1 user\n{folder}/c.yml: OK, 1 server\n")
    (folder / "wrong.yml").write_text("basic_auth_users: {alice: hunter2}\n")
    code, said = check(str(folder / "c.yml"), "--web.config.file", str(folder / "wrong.yml"))
    assert code == 1
    assert "wrong.yml: 1 problem\n" in said
    assert "hunter2" not in said
    assert check()[0] == 2
    assert check("--probe", "--web.config.file", good)[0] == 2
