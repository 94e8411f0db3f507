"""Scraping in slices: what /sd tells Prometheus to scrape, and what each of these scrapes shows."""

from __future__ import annotations

import gzip
from collections import Counter
from contextlib import asynccontextmanager

import aiohttp
import pytest

from comfyui_exporter.config.rules import http_url
from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.web.discovery import Discovery
from comfyui_exporter.web.server import WebServer, build_app

NAMES = [f"gpu{number}" for number in range(12)]


@pytest.fixture
def store():
    store = MetricStore()
    for name in NAMES:
        store.add_server(name)
        store.set(families.UP, name, (), 1)
    store.set(families.SERVERS, None, (), len(NAMES))
    return store


@asynccontextmanager
async def serving(store, external_url=None, path="/metrics"):
    app = build_app(store, path, lambda: True)
    app.router.add_get("/sd", Discovery(store, external_url and http_url(external_url), path).__call__)
    server = WebServer(app)
    try:
        host, port = await server.listen("127.0.0.1", 0)
        async with aiohttp.ClientSession(f"http://{host}:{port}", auto_decompress=False) as session:
            session.address = f"{host}:{port}"
            yield session
    finally:
        await server.close()


async def discovered(session, query="", **headers):
    async with session.get(f"/sd{query}", headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "application/json"  # Prometheus takes nothing else
        return await response.json()


async def status(session, path, **headers):
    async with session.get(path, headers=headers) as response:
        return response.status, await response.text()


async def scraped(session, query):
    """The samples that a scrape shows."""
    async with session.get(f"/metrics{query}") as response:
        assert response.status == 200
        text = gzip.decompress(await response.read()).decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


async def test_every_server_is_a_target_and_the_exporter_is_one(store):
    async with serving(store) as session:
        groups = await discovered(session)
    common = {"__scheme__": "http", "__metrics_path__": "/metrics"}
    assert {group["targets"][0] for group in groups} == {session.address}
    assert [group["labels"] for group in groups] == [
        *({**common, "__param_server": name, "server": name} for name in sorted(NAMES)),
        {**common, "__param_self": "1"},
    ]


async def test_slices_are_targets_with_names_of_their_own(store):
    async with serving(store, path="/other") as session:
        groups = await discovered(session, "?slices=2")
    common = {"__scheme__": "http", "__metrics_path__": "/other"}
    assert [group["labels"] for group in groups] == [
        {**common, "__param_slice": "0/2", "slice": "0/2"},
        {**common, "__param_slice": "1/2", "slice": "1/2"},
        {**common, "__param_self": "1"},
    ]


@pytest.mark.parametrize(
    ("external", "scheme", "target", "path"),
    [
        ("https://gpu.example.org/comfy/", "https", "gpu.example.org:443", "/comfy/metrics"),
        ("https://gpu.example.org:8443", "https", "gpu.example.org:8443", "/metrics"),
        ("http://gpu.example.org", "http", "gpu.example.org:80", "/metrics"),
        ("http://[::1]", "http", "[::1]:80", "/metrics"),
        ("http://[::1]:9188/x", "http", "[::1]:9188", "/x/metrics"),
    ],
)
async def test_an_external_url_says_where_to_scrape(store, external, scheme, target, path):
    async with serving(store, external) as session:
        for headers in ({}, {"Host": "somewhere.else"}):
            for group in await discovered(session, "?slices=1", **headers):
                labels = group["labels"]
                assert group["targets"] == [target]
                assert (labels["__scheme__"], labels["__metrics_path__"]) == (scheme, path)


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("exporter:9188", "exporter:9188"),
        ("exporter", "exporter:80"),
        ("[::1]:9188", "[::1]:9188"),
        ("[fe80::1]", "[fe80::1]:80"),
        ("comfyui_exporter.monitoring.svc:9188", "comfyui_exporter.monitoring.svc:9188"),
    ],
)
async def test_the_host_header_says_where_to_scrape(store, host, target):
    async with serving(store) as session:
        assert {group["targets"][0] for group in await discovered(session, Host=host)} == {target}


@pytest.mark.parametrize(
    "host", ["", "a b", "a/b", "me@a", "a:b", "a:999999", "a,b", '"a"', "::1", "[::1", "http://a", "ä"]
)
async def test_a_host_that_is_none_is_no_target(store, host):
    async with serving(store) as session:
        assert (await status(session, "/sd", Host=host))[0] == 400


NO_NUMBERS = ("0", "-1", "1001", "1e3", "", "x", "1.5", "+1", "01", "000000001999999999", "\u0663", "9" * 5000)


@pytest.mark.parametrize("slices", NO_NUMBERS)
async def test_nonsense_is_no_number_of_slices(store, slices):
    async with serving(store) as session:
        assert (await status(session, f"/sd?slices={slices.replace('+', '%2B')}"))[0] == 400


@pytest.mark.parametrize("count", [1, 2, 3, 5, 40])
async def test_the_slices_together_show_every_server_once_and_the_exporter_not_at_all(store, count):
    async with serving(store) as session:
        samples = [sample for index in range(count) for sample in await scraped(session, f"?slice={index}/{count}")]
    assert Counter(samples) == Counter(f'comfyui_up{{server="{name}"}} 1' for name in NAMES)


async def test_what_is_discovered_can_be_scraped_and_is_all_there_is(store):
    async with serving(store) as session:
        whole = await scraped(session, "")
        for query in ("", "?slices=3"):
            parts = []
            for group in await discovered(session, query):
                params = "&".join(
                    f"{name.removeprefix('__param_')}={value}"
                    for name, value in group["labels"].items()
                    if name.startswith("__param_")
                )
                parts += await scraped(session, f"?{params}")
            assert sorted(parts) == sorted(whole)


async def test_a_slice_may_be_empty(store):
    store = MetricStore()
    async with serving(store) as session:
        assert await scraped(session, "?slice=0/2") == []
        assert [group["labels"].get("slice") for group in await discovered(session, "?slices=2")] == [
            "0/2",
            "1/2",
            None,
        ]


@pytest.mark.parametrize("part", ["", "2/2", "1", "-1/2", "0/0", "a/b", "0/2/3", "0/99999", "1/2x", "\u0660/\u0662"])
async def test_a_slice_that_is_none_is_refused(store, part):
    async with serving(store) as session:
        code, text = await status(session, f"/metrics?slice={part}")
        assert code == 400
        assert text.startswith("slice: found ")


async def test_slices_servers_and_the_exporter_add_up(store):
    async with serving(store) as session:
        part = await scraped(session, "?slice=0/2")
        name = next(name for name in NAMES if f'comfyui_up{{server="{name}"}} 1' not in part)
        both = await scraped(session, f"?slice=0/2&server={name}&self=1")
    assert sorted(both) == sorted([*part, f'comfyui_up{{server="{name}"}} 1', f"comfyui_exporter_servers {len(NAMES)}"])
