"""POST /-/reload: who may, and what is answered."""

from __future__ import annotations

import ipaddress
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.web.guard import WriteGuard
from comfyui_exporter.web.reloading import Reloading
from comfyui_exporter.web.server import WebServer, build_app


@asynccontextmanager
async def serving(problems=(), peer="127.0.0.1"):
    """A session, and how often it was reloaded."""
    reloads = []

    async def reload():
        reloads.append(1)
        return problems

    @web.middleware
    async def from_elsewhere(request, handler):
        return await handler(request.clone(remote=peer))

    app = build_app(MetricStore(), "/metrics", lambda: True)
    app.middlewares.append(from_elsewhere)
    guard = WriteGuard([ipaddress.ip_network("10.1.0.0/16")], ["exporter.example.org"])
    app.router.add_post("/-/reload", Reloading(reload, guard).__call__)
    server = WebServer(app)
    try:
        host, port = await server.listen("127.0.0.1", 0)
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            yield session, reloads
    finally:
        await server.close()


async def asked(session, method="POST", **headers):
    async with session.request(method, "/-/reload", headers=headers) as response:
        return response.status, await response.text()


async def test_a_program_on_this_host_may_reload():
    async with serving() as (session, reloads):
        assert await asked(session) == (200, "reloaded\n")
        assert reloads == [1]


async def test_what_is_wrong_is_answered_line_by_line():
    async with serving(("a.yml:1:1: x", "a.yml:2:1: y")) as (session, _):
        assert await asked(session) == (500, "a.yml:1:1: x\na.yml:2:1: y\n")


@pytest.mark.parametrize(("peer", "code"), [("10.1.2.3", 200), ("10.2.0.1", 403), ("203.0.113.9", 403)])
async def test_from_outside_only_trusted_networks_may(peer, code):
    async with serving(peer=peer) as (session, reloads):
        assert (await asked(session))[0] == code
        assert bool(reloads) is (code == 200)


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"X-Forwarded-For": "203.0.113.9"}],
)
async def test_pages_of_others_and_what_a_proxy_passes_on_may_not(headers):
    async with serving() as (session, reloads):
        code, text = await asked(session, **headers)
        assert (code, reloads) == (403, [])
        assert text.endswith("\n")


async def test_reading_reloads_nothing():
    async with serving() as (session, reloads):
        assert (await asked(session, "GET"))[0] == 405
        assert reloads == []
