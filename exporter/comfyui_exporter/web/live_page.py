"""The live page: one HTML, one CSS and one JS file, served from memory."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from importlib.resources import files

from aiohttp import ETag, web

from comfyui_exporter.metrics.negotiate import accepts_gzip

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""What ComfyUI calls its jobs must never become markup: browsers that know trusted types refuse it by themselves."""

_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}


@dataclass(frozen=True, slots=True)
class _Asset:
    content_type: str
    plain: bytes
    packed: bytes
    etag: str


class LivePage:
    """Answers `/`, `/page.css` and `/page.js`.

    Browsers keep them, and ask each time whether they are still the same: three empty answers, and no page of an old
    version after an upgrade. All three carry one tag, so that files of two versions never meet.
    """

    def __init__(self) -> None:
        folder = files("comfyui_exporter.web") / "page"
        contents = {path: (folder / name).read_bytes() for path, (name, _) in _FILES.items()}
        self.version = hashlib.sha256(b"\0".join(contents.values())).hexdigest()[:16]
        """Tells one state of the page from another."""
        self._assets = {
            path: _Asset(_FILES[path][1], content, gzip.compress(content, mtime=0), self.version)
            for path, content in contents.items()
        }

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        for path in self._assets:
            app.router.add_get(path, self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        asset = self._assets[request.path]
        response = web.Response(content_type=asset.content_type, charset="utf-8")
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Vary"] = "Accept-Encoding"
        response.etag = ETag(asset.etag, is_weak=True)
        if any(tag.value in {asset.etag, "*"} for tag in request.if_none_match or ()):
            response.set_status(304)
        elif accepts_gzip(request.headers.get("Accept-Encoding")):
            response.headers["Content-Encoding"] = "gzip"
            response.body = asset.packed
        else:
            response.body = asset.plain
        return response
