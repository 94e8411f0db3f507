"""The live page as HTTP: what comes with it, and when a browser may use what it has."""

from __future__ import annotations

import gzip
import re
from contextlib import asynccontextmanager

import aiohttp
import pytest

from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.push.access import Access
from comfyui_exporter.web.about import About
from comfyui_exporter.web.live_page import LivePage
from comfyui_exporter.web.server import WebServer, build_app

FILES = {"/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript"}
GRAFANA = "https://grafana.example.org/sub"


class OneToken:
    async def token(self):
        return "s3cret"


@asynccontextmanager
async def serving(telemetry_path="/metrics", access=None):
    page = LivePage()
    app = build_app(MetricStore(), telemetry_path, lambda: True, page=page)
    titles = {"cuda_oom": "CUDA out of memory"}
    About({"grafana": GRAFANA}, lambda: titles, access or Access(), telemetry_path, page.version).add_to(app)
    server = WebServer(app)
    try:
        host, port = await server.listen("127.0.0.1", 0)
        async with aiohttp.ClientSession(f"http://{host}:{port}", auto_decompress=False) as session:
            yield session
    finally:
        await server.close()


async def about(session, origin=""):
    async with session.get("/api/v1/about", params={"origin": origin} if origin else {}) as response:
        assert response.status == 200
        return await response.json()


@pytest.mark.parametrize(("path", "content_type"), FILES.items())
async def test_each_file_forbids_what_it_does_not_need(path, content_type):
    async with serving() as session, session.get(path) as response:
        assert (response.status, response.content_type, response.charset) == (200, content_type, "utf-8")
        policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }


@pytest.mark.parametrize("path", FILES)
async def test_a_browser_asks_each_time_and_takes_only_what_is_new(path):
    async with serving() as session:
        async with session.get(path) as response:
            assert response.headers["Cache-Control"] == "no-cache"
            tag = response.headers["ETag"]
        async with session.get(path, headers={"If-None-Match": tag}) as response:
            assert (response.status, await response.read(), response.headers["ETag"]) == (304, b"", tag)
            assert response.headers["Cache-Control"] == "no-cache"
        async with session.get(path, headers={"If-None-Match": 'W/"of-another-version"'}) as response:
            assert response.status == 200
            assert await response.read()


async def test_all_files_of_a_version_have_one_tag_so_that_two_versions_never_meet():
    async with serving() as session:
        tags = set()
        for path in FILES:
            async with session.get(path) as response:
                tags.add(response.headers["ETag"])
        assert len(tags) == 1
        assert (await about(session))["page"] in tags.pop()


async def test_it_is_compressed_for_who_takes_it():
    async with serving() as session:
        async with session.get("/page.js", headers={"Accept-Encoding": "identity"}) as response:
            plain = await response.read()
            assert "Content-Encoding" not in response.headers
        async with session.get("/page.js", headers={"Accept-Encoding": "gzip"}) as response:
            packed = await response.read()
            assert (response.headers["Content-Encoding"], response.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(packed) == plain
    assert len(packed) < len(plain) / 2


@pytest.mark.parametrize("path", FILES)
async def test_head_has_the_headers_alone_and_nothing_can_be_sent(path):
    async with serving() as session:
        async with session.head(path) as response:
            assert (response.status, await response.read()) == (200, b"")
            assert response.headers["ETag"]
        async with session.post(path) as response:
            assert response.status == 405


@pytest.mark.parametrize("path", ["/page.html", "/page/", "/page/page.js", "/page.js/", "/index.html"])
async def test_there_is_nothing_beside_it(path):
    async with serving() as session, session.get(path) as response:
        assert response.status == 404


async def test_metrics_at_the_root_leave_no_room_for_it():
    async with serving("/") as session:
        async with session.get("/") as response:
            assert response.content_type == "text/plain"
        async with session.get("/page.js") as response:
            assert response.status == 404


async def test_it_needs_no_other_host_and_works_below_a_path():
    async with serving() as session:
        for path in FILES:
            async with session.get(path, headers={"Accept-Encoding": "identity"}) as response:
                text = await response.text()
            # The namespace of SVG is a name, not an address.
            assert "//" not in re.sub(r"http://www\.w3\.org/2000/svg", "", re.sub(r"(?m)(^|\s)//.*$", "", text))
            assert re.findall(r'(?:href|src)="/', text) == []
            assert re.findall(r"\bon[a-z]+=|<style|style=|<script>", text) == []


async def test_about_tells_what_the_page_must_know():
    async with serving() as session:
        said = await about(session)
    assert said["links"] == {"grafana": GRAFANA}
    assert said["failure_patterns"] == {"cuda_oom": "CUDA out of memory"}
    assert (said["metrics"], said["socket"]) == ("metrics", "open")


@pytest.mark.parametrize(
    ("access", "origin", "socket"),
    [
        (Access(), "http://gpubox:9188", "other_origin"),
        (Access(), "http://127.0.0.1:9188", "open"),
        (Access(hosts=["gpubox"]), "http://gpubox:9188", "open"),
        (Access(token=OneToken()), "http://127.0.0.1:9188", "token"),
        (Access(token=OneToken()), "http://gpubox:9188", "other_origin"),
    ],
)
async def test_about_says_why_a_page_would_be_refused_by_the_socket(access, origin, socket):
    async with serving(access=access) as session:
        assert (await about(session, origin))["socket"] == socket
