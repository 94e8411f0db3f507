"""The HTTP side of the exporter, over a real socket."""

from __future__ import annotations

import gzip
from contextlib import asynccontextmanager

import aiohttp
import pytest

from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.web.server import WebServer, build_app

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.fixture
def store():
    store = MetricStore()
    for name, up in (("gpu0", 1), ("gpu1", 0)):
        store.add_server(name)
        store.set(families.UP, name, (), up)
    store.set(families.SERVERS, None, (), 2)
    return store


@asynccontextmanager
async def serving(store, path="/metrics", ready=lambda: True):
    """A session whose base URL is the exporter."""
    server = WebServer(build_app(store, path, ready))
    try:
        host, port = await server.listen("127.0.0.1", 0)
        async with aiohttp.ClientSession(f"http://{host}:{port}", auto_decompress=False) as session:
            yield session
    finally:
        await server.close()


async def lines(session, path, **headers):
    """The samples of a scrape, without comments."""
    async with session.get(path, headers={"Accept-Encoding": "identity", **headers}) as response:
        assert response.status == 200
        return [line for line in (await response.text()).splitlines() if not line.startswith("#")]


UP0 = 'comfyui_up{server="gpu0"} 1'
UP1 = 'comfyui_up{server="gpu1"} 0'
SERVERS = "comfyui_exporter_servers 2"


async def test_a_scrape_shows_every_server_and_the_exporter(store):
    async with serving(store) as session, session.get("/metrics") as response:
        body = gzip.decompress(await response.read()).decode()
        assert response.status == 200
        assert response.headers["Content-Type"] == TEXT
    assert [line for line in body.splitlines() if not line.startswith("#")] == [UP0, UP1, SERVERS]
    assert "# TYPE comfyui_up gauge\n" in body
    assert "# EOF" not in body


async def test_openmetrics_for_who_asks_for_it(store):
    accept = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "identity"}
    async with serving(store) as session, session.get("/metrics", headers=accept) as response:
        assert response.headers["Content-Type"] == OPENMETRICS
        assert (await response.text()).endswith("# EOF\n")


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("?server=gpu0", [UP0]),
        ("?server=gpu1&server=gpu0", [UP0, UP1]),
        ("?server=gpu0&server=gpu0", [UP0]),
        ("?self=1", [SERVERS]),
        ("?server=gpu1&self=1", [UP1, SERVERS]),
        ("?self=0", [UP0, UP1, SERVERS]),
        ("?other=1", [UP0, UP1, SERVERS]),
    ],
)
async def test_a_scrape_of_a_part(store, query, shown):
    async with serving(store) as session:
        assert await lines(session, f"/metrics{query}") == shown


@pytest.mark.parametrize(
    "query", ["?server=gpu2", "?server=gpu0&server=gpu2", "?server=", "?server=GPU0", "?server=%00"]
)
async def test_a_server_that_is_not_there_is_not_found(store, query):
    async with serving(store) as session, session.get(f"/metrics{query}") as response:
        assert (response.status, await response.text()) == (404, "no such server\n")


async def test_a_removed_server_is_gone_from_the_next_scrape_on(store):
    async with serving(store) as session:
        store.remove_server("gpu0")
        assert await lines(session, "/metrics") == [UP1, SERVERS]
        async with session.get("/metrics?server=gpu0") as response:
            assert response.status == 404


async def test_gzip_only_for_who_takes_it(store):
    async with serving(store) as session:
        async with session.get("/metrics", headers={"Accept-Encoding": "gzip;q=0"}) as response:
            assert "Content-Encoding" not in response.headers
            plain = await response.read()
        async with session.get("/metrics", headers={"Accept-Encoding": "gzip"}) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(await response.read()) == plain


async def test_a_large_answer_is_compressed_whole(store):
    for number in range(700):
        name = f"{number:0100}"
        store.add_server(name)
        store.set(families.UP, name, (), 1)
    async with serving(store) as session, session.get("/metrics", headers={"Accept-Encoding": "gzip"}) as response:
        body = gzip.decompress(await response.read())
    assert len(body) > 64 * 1024
    assert body.count(b"\ncomfyui_up{") == 702


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy", "/-/ready"])
async def test_head_answers_as_get_without_a_body(store, path):
    async with serving(store) as session:
        async with session.get(path) as response:
            got = (response.status, response.headers["Content-Type"])
        async with session.head(path) as response:
            assert (response.status, response.headers["Content-Type"]) == got
            assert await response.read() == b""


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy", "/-/ready"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_other_methods_are_not_allowed(store, path, method):
    async with serving(store) as session, session.request(method, path) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET,HEAD"


async def test_the_telemetry_path_is_where_it_is_put(store):
    async with serving(store, "/a/scrape") as session:
        assert UP0 in await lines(session, "/a/scrape")
        async with session.get("/metrics") as response:
            assert response.status == 404


async def test_the_telemetry_path_may_be_the_root(store):
    async with serving(store, "/") as session:
        assert UP0 in await lines(session, "/")


async def test_it_is_healthy_from_the_start_and_ready_when_it_is(store):
    ready = False
    async with serving(store, ready=lambda: ready) as session:
        async with session.get("/-/healthy") as response:
            assert (response.status, await response.text()) == (200, "comfyui-exporter is healthy.\n")
        async with session.get("/-/ready") as response:
            assert response.status == 503
            assert "not every server was tried yet" in await response.text()
        ready = True
        async with session.get("/-/ready") as response:
            assert (response.status, await response.text()) == (200, "comfyui-exporter is ready.\n")


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy", "/nowhere"])
async def test_every_answer_carries_the_headers_that_protect(store, path):
    async with serving(store) as session, session.get(path) as response:
        assert response.headers["Server"] == "comfyui-exporter"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")


async def test_one_application_listens_on_several_addresses_until_it_closes(store):
    server = WebServer(build_app(store, "/metrics", lambda: True))
    addresses = [await server.listen("127.0.0.1", 0) for _ in range(2)]
    assert len({port for _, port in addresses}) == 2
    async with aiohttp.ClientSession() as session:
        for host, port in addresses:
            async with session.get(f"http://{host}:{port}/-/healthy") as response:
                assert response.status == 200
        await server.close()
        for host, port in addresses:
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(f"http://{host}:{port}/-/healthy")


async def test_a_port_in_use_is_an_os_error(store):
    first, second = (WebServer(build_app(store, "/metrics", lambda: True)) for _ in range(2))
    try:
        host, port = await first.listen("127.0.0.1", 0)
        with pytest.raises(OSError, match="address already in use"):
            await second.listen(host, port)
    finally:
        await first.close()
        await second.close()
