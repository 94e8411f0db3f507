"""A running exporter that knows many secrets, provoked from all sides: nothing that it says has one of them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import aiohttp
import bcrypt
import pytest
from aiohttp import web

from comfyui.servers import http_server
from comfyui_exporter.cli.logs import FORMATTERS
from comfyui_exporter.config.errors import ConfigError
from comfyui_exporter.config.load import load_config

PROGRAM = [sys.executable, "-m", "comfyui_exporter"]
SECRETS = {
    "bearer": "s3cret-bearer-token",
    "header": "s3cret-header-value",
    "basic": "s3cret-basic-password",
    "webhook": "s3cret-webhook-key",
    "push": "s3cret-push-token-of-enough-length",
    "database": "s3cret-database-password",
    "login": "s3cret-login-password",
}
FORGED = "x\nts=2026-01-01T00:00:00.000Z level=error msg=forged\r\x1b[2J\u2028\u202e"


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("COMFYUI", "PG"))} | more


def told_of(said: str) -> list[str]:
    return [name for name, secret in SECRETS.items() if secret in said]


async def misbehave(request: web.Request) -> web.StreamResponse:
    """Refuse, fail, redirect and forge, and repeat what was shown."""
    shown = " ".join(f"{name}: {value}" for name, value in request.headers.items())
    match request.path:
        case "/basic/prompt":
            return web.Response(status=302, headers={"Location": f"http://127.0.0.1:1/?{shown[:50]}"})
        case "/headers/prompt":
            return web.Response(text=json.dumps({"exec_info": {"queue_remaining": FORGED}}))
        case "/bearer/prompt":
            return web.Response(status=401, reason=f"Unauthorized {shown[:60]}", text=shown)
        case "/hook":
            return web.Response(status=500, text=shown)
        case _:
            return web.Response(status=500, text=shown)


def configuration(folder: Path, url: str) -> Path:
    for name in ("bearer", "basic", "webhook", "push"):
        (folder / name).write_text(SECRETS[name])
    (folder / "header").write_text(f"X-Key: {SECRETS['header']}\n")
    hashed = bcrypt.hashpw(SECRETS["login"].encode(), bcrypt.gensalt(4)).decode()
    (folder / "web.yml").write_text(f"basic_auth_users:\n  alice: {hashed}\n")
    config = folder / "exporter.yml"
    servers = [
        {"name": "bearer", "url": f"{url}/bearer", "bearer_token_file": "bearer"},
        {"name": "basic", "url": f"{url}/basic", "basic_auth": {"username": "u", "password_file": "basic"}},
        {"name": "headers", "url": f"{url}/headers", "headers_file": "header"},
    ]
    config.write_text(
        json.dumps(
            {
                "servers": servers,
                "poll_interval": "100ms",
                "push": {"token_file": "push"},
                "webhooks": [{"url": f"{url}/hook", "secret_file": "webhook"}],
            }
        )
    )
    return config


@pytest.mark.parametrize("log_format", FORMATTERS)
async def test_nothing_that_it_says_has_a_secret_and_no_line_of_its_log_is_forged(
    log_format: str, tmp_path: Path
) -> None:
    async with http_server(misbehave) as comfyui:
        config = configuration(tmp_path, comfyui.url)
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, "run", "--config.file", str(config), "--web.config.file", str(tmp_path / "web.yml"),
            "--store.url", "memory", "--log.level", "debug", "--log.format", log_format,
            "--web.listen-address", "127.0.0.1:0", "--push.listen-address", "127.0.0.1:0",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment(),
        )  # fmt: skip
        try:
            assert process.stderr is not None
            log, addresses = [], []
            async with asyncio.timeout(30):
                while len(addresses) < 2:
                    line = (await process.stderr.readline()).decode()
                    log.append(line)
                    addresses += re.findall(r"127\.0\.0\.1:[1-9][0-9]+", line) if "listening" in line else []
            said = await provoke(*addresses)
            said.append(listed(process.pid))
            async with asyncio.timeout(30):
                while len(comfyui.paths) < 15 or not any("events" in path or "/ws" in path for path in comfyui.paths):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            config.write_text("servers: [{url: 'http://u:" + SECRETS["database"] + "@h'}]\n")
            said.append(await ask(addresses[0], "/-/reload", "POST"))
        finally:
            process.terminate()
            out, rest = await process.communicate()
    lines = "".join([*log, rest.decode()]).split("\n")
    assert [told for told in (*lines, *said, out.decode()) if told_of(told)] == []
    assert len(lines) > 10
    assert "wrong user name or password" in "\n".join(lines)
    assert "cannot be used" in said[-1] or "url" in said[-1]
    for line in filter(None, lines):
        assert line.isprintable()
        assert line.startswith("ts=20" if log_format == "logfmt" else '{"ts": "20')
        assert "2026-01-01T00:00:00.000Z" not in line[:40]


def listed(pid: int) -> str:
    """What the list of processes shows."""
    return Path(f"/proc/{pid}/cmdline").read_text()


async def ask(address: str, path: str, method: str = "GET", **headers: str) -> str:
    login = "Basic " + base64.b64encode(f"alice:{SECRETS['login']}".encode()).decode()
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"http://{address}{path}", headers={"Authorization": login, **headers}) as answer,
    ):
        return f"{dict(answer.headers)} {await answer.text()}"


async def provoke(web_address: str, push_address: str) -> list[str]:
    """What it answers to those who know a secret, to those who nearly do, and to nonsense."""
    said = []
    for path in (
        "/",
        "/metrics",
        "/api/v1/servers",
        "/api/v1/jobs",
        "/api/v1/about",
        "/api/v1/alerts",
        "/sd",
        "/-/ready",
        "/nothing",
    ):
        said += [await ask(web_address, path), await ask(web_address, path, Authorization="Basic YWxpY2U6d3Jvbmc=")]
        said.append(await ask(web_address, path, Authorization=f"Bearer {SECRETS['push'][:-1]}x"))
    for path in ("/", "/ws", f"/?token={SECRETS['push']}"[:8]):
        said.append(await ask(push_address, path))
    # A secret at a place where it does not belong comes back to nobody.
    said.append(await ask(web_address, "/api/v1/jobs?status=x", "GET", Origin=f"http://{SECRETS['push']}.example"))
    said.append(await ask(web_address, "/api/v1/jobs", "POST", Expect=SECRETS["push"]))
    reader, writer = await asyncio.open_connection(*web_address.split(":"))
    writer.write(f"GET /{SECRETS['push']} \x01\r\nAuthorization {SECRETS['push']}\r\n\r\n".encode())
    said.append((await reader.read()).decode())
    writer.close()
    return said


def test_a_store_that_cannot_be_reached_is_told_of_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://exporter:{SECRETS['database']}@127.0.0.1:1/jobs?connect_timeout=1"
    done = subprocess.run(
        [
            *PROGRAM,
            "run",
            "--log.level",
            "debug",
            "--comfyui.url",
            "http://127.0.0.1:1",
            "--web.listen-address",
            "127.0.0.1:0",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(COMFYUI_EXPORTER_STORE_URL=url, COMFYUI_EXPORTER_PUSH_LISTEN_ADDRESS=""),
        cwd=tmp_path,
    )
    assert done.returncode in {1, 2}
    assert "the store" in done.stderr or "store" in done.stderr
    assert told_of(done.stdout + done.stderr) == []


@pytest.mark.parametrize(
    "text",
    [
        "servers: [{url: 'http://u:%s@h:1'}]",
        "servers: [{url: h, bearer_token: %s}]",
        "servers: [{url: h, basic_auth: {username: u, password: %s}}]",
        "servers: [{url: 'http://h/?token=%s'}]",
        "store: {url: 'mysql://u:%s@h/d'}",
        "store: {url: 'postgresql+x://u:%s@h'}",
        "push: {token: %s}",
        "webhooks: [{url: 'https://h/x', secret: %s}]",
        "webhooks: [{url: 'https://u:%s@h/x'}]",
    ],
)
def test_a_secret_at_the_wrong_place_of_a_file_is_refused_without_being_repeated(text: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text(text % SECRETS["database"])
    with pytest.raises(ConfigError) as raised:
        load_config(file)
    assert raised.value.problems
    assert told_of("".join(map(str, raised.value.problems))) == []
