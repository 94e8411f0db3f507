"""`check-config --probe`: what each server says of itself, or why it says nothing."""

from __future__ import annotations

import socket

from aiohttp import web

from comfyui.servers import PROMPT, http_server, raw_server
from comfyui_exporter.config.model import Config
from comfyui_exporter.config.servers import ServerConfig
from comfyui_exporter.probe import ProbeResult, probe_all

STATS = b'{"system": {"comfyui_version": "0.3.64"}, "devices": []}'


async def comfyui(request):
    return web.Response(body=STATS if request.path == "/system_stats" else PROMPT)


def config_of(**servers):
    return Config(servers=tuple(ServerConfig(name=name, url=url) for name, url in servers.items()), request_timeout=0.5)


async def test_a_server_that_answers_tells_version_latency_and_queue():
    async with http_server(comfyui) as server:
        (result,) = await probe_all(config_of(gpu0=server.url))
    assert result.latency_s is not None
    assert 0 < result.latency_s < 0.5
    assert result == ProbeResult("gpu0", True, "0.3.64", result.latency_s, 2)
    assert server.paths == ["/system_stats", "/prompt"]
    assert server.made == 1


async def test_a_server_without_a_version_has_none():
    async def answer(request):
        return web.Response(body=b'{"system": {}}' if request.path == "/system_stats" else PROMPT)

    async with http_server(answer) as server:
        (result,) = await probe_all(config_of(gpu0=server.url))
    assert (result.ok, result.version, result.queue_remaining) == (True, None, 2)


async def test_each_server_has_its_result_in_the_order_of_the_configuration():
    async with http_server(comfyui) as good, raw_server(b"SSH-2.0-OpenSSH_9.6\r\n\r\n") as garbage:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            refused = f"http://127.0.0.1:{free.getsockname()[1]}"
            results = await probe_all(config_of(refused=refused, garbage=garbage, good=good.url))
    assert [(result.server, result.ok) for result in results] == [
        ("refused", False),
        ("garbage", False),
        ("good", True),
    ]
    assert (results[0].version, results[0].latency_s, results[0].queue_remaining) == (None, None, None)
    assert results[0].error is not None
    assert results[0].error.startswith("GET /system_stats: cannot connect to 127.0.0.1")
    assert results[1].error is not None
    assert results[1].error.startswith("GET /system_stats: ")


async def test_another_web_server_is_not_a_comfyui():
    async def answer(_):
        return web.Response(text="<html>It works!</html>")

    async with http_server(answer) as server:
        (result,) = await probe_all(config_of(gpu0=server.url))
    assert not result.ok
    assert result.error is not None
    assert result.error.startswith("GET /system_stats: it is no JSON object")


async def test_a_server_whose_queue_cannot_be_asked_is_not_ok():
    async def answer(request):
        return web.Response(body=STATS) if request.path == "/system_stats" else web.Response(status=500)

    async with http_server(answer) as server:
        (result,) = await probe_all(config_of(gpu0=server.url))
    assert result == ProbeResult("gpu0", False, error="GET /prompt: status 500")


async def test_a_silent_server_is_given_up_after_the_request_timeout():
    async with raw_server(close=False) as url:
        (result,) = await probe_all(config_of(gpu0=url).model_copy(update={"request_timeout": 0.05}))
    assert result == ProbeResult("gpu0", False, error="GET /system_stats: no answer in 0.05 s")


async def test_secrets_come_from_files_and_a_missing_one_is_said(tmp_path):
    token = tmp_path / "token"
    async with http_server(comfyui) as server:
        config = Config(servers=(ServerConfig(name="gpu0", url=server.url, bearer_token_file=token),))
        (missing,) = await probe_all(config)
        token.write_text("secret\n")
        (found,) = await probe_all(config)
    assert not missing.ok
    assert missing.error is not None
    assert "No such file" in missing.error
    assert found.ok
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer secret"}


async def test_no_servers_no_results():
    assert await probe_all(Config()) == []
