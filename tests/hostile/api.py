"""Hostile requests to the exporter's own ports, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import re
import time
from collections.abc import Callable
from random import Random
from urllib.parse import quote_from_bytes

from hostile import seeds
from hostile.mutate import TEXTS, Mutator, bomb
from hostile.tally import Tally

PATIENCE = 10.0
"""Seconds for an answer; more is an exporter that hangs."""

_NOT_NOW = frozenset({501, 503})
"""No such method; not ready yet, or the store is away: documented, other than 500."""

IMPATIENCE = 0.03
"""Seconds after which we do not wait for an answer to what may be no whole request."""

_BOMB = bomb(8)
_PATHS = (
    b"/api/v1/jobs", b"/api/v1/jobs/x", b"/api/v1/batches/x", b"/api/v1/servers", b"/api/v1/statistics",
    b"/api/v1/alerts",
    b"/metrics", b"/sd", b"/ws", b"/", b"/-/healthy", b"/-/ready",
)  # fmt: skip
_KEYS = (
    b"status",
    b"server",
    b"job_type",
    b"batch_id",
    b"limit",
    b"cursor",
    b"slice",
    b"slices",
    b"self",
    b"x",
    b"job_ids",
)
_METHODS = (b"GET",) * 8 + (
    b"POST",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"HEAD",
    b"TRACE",
    b"get",
    b"G" * 200,
    b"\x00",
    b"PRI",
)
_HEADERS = (
    b"Host", b"Origin", b"Accept", b"Accept-Encoding", b"Authorization", b"Sec-Fetch-Site", b"X-Forwarded-For",
    b"Upgrade",
    b"Connection", b"Sec-WebSocket-Key", b"Sec-WebSocket-Version", b"Sec-WebSocket-Protocol", b"Expect",
    b"Content-Type",
    b"Range", b"If-None-Match", b"Cookie", b"Transfer-Encoding", b"Content-Length", b"Content-Encoding", b"TE",
    b"X" * 300,
)  # fmt: skip
_VALUES = (
    b"", b"*/*", b"application/openmetrics-text;version=1.0.0;q=nan", b"text/plain;q=1e400,*/*;q=-1",
    b"gzip;q=0.000001, *",
    b"gzip", b"deflate", b"br", b"null", b"http://[::1", b"http://evil.example", b"same-origin", b"cross-site",
    b"Basic ====",
    b"Basic " + b"A" * 4_000, b"Bearer \xff", b"websocket", b"keep-alive, Upgrade", b"close", b"13", b"100-continue",
    b"chunked",
    b"chunked, chunked", b"-1", b"99999999999999999999", b"5", b"dGhlIHNhbXBsZSBub25jZQ==", b"bytes=0-1", b"x" * 9_000,
    b"\x00", b"\xff\xfe", b"a\rb", b"127.0.0.1", b"[::1]:1", b"::ffff:127.0.0.1",
)  # fmt: skip


class Requests:
    """Sends requests, each answered or cut off within a moment."""

    def __init__(self, host: str, port: int, seed: int) -> None:
        self.rng = Random(seed)
        self.mutator = Mutator(self.rng)
        self.tally = Tally("requests to the exporter")
        self._address = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def run(self, inputs: int, look: Callable[[bytes], None] = lambda _: None) -> None:
        """Send so many; `look` is called after each."""
        for _ in range(inputs):
            given, whole = self.request()
            self.tally.fed += 1
            began = time.perf_counter()
            try:
                outcome = await self._ask(given, whole=whole)
            except TimeoutError:
                outcome = "no answer"
            took = time.perf_counter() - began
            if outcome in {"no answer", "5xx"}:
                self.tally.crash(outcome, given)
            else:
                self.tally.count(outcome)
            if whole and took > self.tally.slowest:
                self.tally.slowest, self.tally.slowest_input = took, given[:2_000]
            look(given)
        self._hang_up()

    def request(self) -> tuple[bytes, bool]:
        """Draw one, and whether it is surely whole, so that it has to be answered."""
        rng = self.rng
        draw = rng.random()
        if draw < 0.35:
            path, body = rng.choice(((b"/api/v1/jobs", seeds.REGISTRATION), (b"/api/v1/alerts", seeds.NOTIFICATION)))
            return self._with_body(b"POST", path, self.mutator.json(body) if rng.random() < 0.95 else body)
        if draw < 0.40:
            return rng.randbytes(rng.choice((1, 20, 500))) + b"\r\n\r\n", False
        path = self._path()
        if draw < 0.75:
            headers = self._headers()
            return b"GET %s HTTP/1.1\r\n%s\r\n" % (path, headers), b"\nUpgrade:" not in headers and not _has_body(
                headers
            )
        if draw < 0.90:
            return self._with_body(rng.choice(_METHODS), path, self.mutator.json(seeds.REGISTRATION)[:60_000])
        return self.mutator.spoiled(b"GET %s HTTP/1.1\r\n%s\r\n" % (path, self._headers())), False

    def _with_body(self, method: bytes, path: bytes, body: bytes) -> tuple[bytes, bool]:
        rng = self.rng
        whole = False
        match rng.randrange(20):
            case 0:
                packed = rng.choice(((gzip.compress(body), b"gzip"), (body, b"gzip"), (_BOMB, b"gzip"), (body, b"br")))
                body, coding = packed
                extra = b"Content-Encoding: %s\r\nContent-Length: %d\r\n" % (coding, len(body))
            case 1:
                extra, body = b"Transfer-Encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
                body = self.mutator.spoiled(body) if rng.random() < 0.5 else body
            case 2:
                extra = b"Content-Length: %d\r\n" % max(0, len(body) + rng.choice((-5, 5, 10**6)))
            case 3:
                extra = b"Content-Length: %d\r\n" % len(body) + self._headers()
            case _:
                whole = method in {b"POST", b"PUT", b"DELETE"}
                extra = b"Host: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        return b"%s %s HTTP/1.1\r\n%s\r\n%s" % (method, path, extra, body), whole

    def _path(self) -> bytes:
        rng = self.rng
        path = rng.choice(_PATHS)
        if rng.random() < 0.3:
            path += b"/" + self._word()
        for mark in (b"?", b"&", b"&"):
            if rng.random() < 0.6:
                path += mark + rng.choice(_KEYS) + rng.choice((b"=", b"", b"==", b"%3d")) + self._word()
        return path

    def _word(self) -> bytes:
        rng = self.rng
        text = rng.choice(
            (rng.choice(TEXTS).encode("utf-8", "surrogatepass"), rng.randbytes(5), b"9" * rng.choice((1, 20, 400)))
        )
        return quote_from_bytes(text).encode() if rng.random() < 0.9 else text

    def _headers(self) -> bytes:
        rng = self.rng
        chosen = [(rng.choice(_HEADERS), rng.choice(_VALUES)) for _ in range(rng.choice((0, 1, 3, 6)))]
        return b"Host: x\r\n" + b"".join(b"%s: %s\r\n" % pair for pair in chosen)

    # Asking

    async def _ask(self, given: bytes, *, whole: bool) -> str:
        if self._writer is None or self._writer.is_closing():
            self._reader, self._writer = await asyncio.open_connection(*self._address)
        reader, writer = self._reader, self._writer
        assert reader is not None
        status, more = 0, False
        try:
            async with asyncio.timeout(PATIENCE if whole else IMPATIENCE):
                writer.write(given)
                status, more = await self._answer(reader)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except TimeoutError:
            if whole:
                raise
            self._hang_up()
            return "waits for its rest"
        if not (whole and more):
            self._hang_up()
        if status == 0:
            return "cut off"
        if status < 400:
            return "accepted as valid"
        return "5xx" if status >= 500 and status not in _NOT_NOW else f"refused with a {status // 100}xx"

    @staticmethod
    async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
        """The status, and whether the connection goes on."""
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1."):
            return 0, False
        status = int(head.split(b" ")[1])
        if status == 100:
            return await Requests._answer(reader)
        length = re.search(rb"\r\nContent-Length: ([0-9]+)\r", head)
        if length is None or status == 101:
            return status, False
        if status in {204, 304}:
            return status, True
        await reader.readexactly(int(length[1]))
        return status, b"\r\nConnection: close" not in head

    def _hang_up(self) -> None:
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.transport.abort()


def _has_body(headers: bytes) -> bool:
    return any(
        name in headers for name in (b"\nTransfer-Encoding:", b"\nContent-Length:", b"\nExpect:", b"\x00", b"a\rb")
    )
