"""A hostile ComfyUI on loopback: answers every read with a spoiled body, and now and then with spoiled HTTP."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import re
import zlib
from collections import Counter
from random import Random
from typing import cast

from hostile import seeds
from hostile.mutate import NUMBERS, TEXTS, Mutator, bomb

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SMALL_BOMB = bomb(4)
_LARGE_BOMB = bomb(64)
_TYPES = (
    b"application/json",
    b"application/json; charset=utf-16",
    b"text/html",
    b"application/json; charset=nonsense",
    b"\xff",
    b"",
)
_STATUSES = (b"200 OK",) * 60 + (
    b"500 Internal Server Error", b"404 Not Found", b"204 No Content", b"302 Found\r\nLocation: http://127.0.0.1:1/",
    b"401 x",
    b"206 Partial Content", b"999 ", b"200",
)  # fmt: skip


def route_of(path: str) -> str:
    """The route of a path, as metrics name it."""
    path = path.split("?", maxsplit=1)[0]
    for start, route in (("/history/", "/history/{id}"), ("/api/jobs/", "/api/jobs/{id}")):
        if path.startswith(start):
            return route
    return path


class HostileComfyUI:
    """Makes the answers. `good_share` of them are not spoiled, so that the reader gets anywhere at all."""

    def __init__(self, rng: Random, *, good_share: float = 0.15, odd_http_share: float = 0.08) -> None:
        self.rng = rng
        self.mutator = Mutator(rng)
        self.good_share = good_share
        self.good_prompts = 0.0
        """The share of good answers to /prompt, without which nothing else is asked for."""
        self.odd_http_share = odd_http_share
        self.routes: Counter[str] = Counter()
        self.answered = 0
        self.odd = 0
        """Of these, answers that were spoiled as HTTP."""
        self.most_frames = 500
        """In one event stream."""
        self.streams = self.frames_sent = 0
        self.last = b""
        """The body that was sent last."""

    def body(self, route: str) -> bytes:
        """Draw the next body of a route."""
        if route == "/prompt" and self.rng.random() < self.good_prompts:
            return b'{"exec_info": {"queue_remaining": %d}}' % self.rng.randrange(4)
        good = self.rng.choice(seeds.bodies().get(route) or (b"{}",))
        if self.rng.random() < 0.3:
            good = self._of_others(route, good)
        return good if self.rng.random() < self.good_share else self.mutator.json(good)

    def _of_others(self, route: str, good: bytes) -> bytes:
        """Other ids, tags, classes and exceptions than were ever seen: what bounds on labels are for."""
        rng, data = self.rng, json.loads(good)
        items = []
        if route == "/queue":
            items = [*data["queue_running"], *data["queue_pending"]]
        elif route.startswith("/history"):
            items = [entry["prompt"] for entry in data.values()]
        for item in items:
            item[:2] = rng.randrange(1000), f"{rng.getrandbits(128):032x}"
            item[3] = {
                name: self._word() for name in ("job_type", "batch_id", "job_id", "project") if rng.random() < 0.7
            }
            for node in item[2].values():
                if rng.random() < 0.3:
                    node["class_type"] = self._word()
        if route.startswith("/history"):
            for entry in data.values():
                for message in entry["status"]["messages"]:
                    if "exception_type" in message[1]:
                        message[1].update(
                            exception_type=self._word(), node_type=self._word(), exception_message=self._word()
                        )
                    message[1]["timestamp"] = rng.choice((message[1].get("timestamp"), rng.choice(NUMBERS)))
            data = {item[1]: entry for item, entry in zip(items, data.values(), strict=True)}
        return json.dumps(data).encode()

    def _word(self) -> object:
        return self.rng.choice(
            (f"{self.rng.getrandbits(40):x}", self.rng.choice(TEXTS), self.rng.randrange(10**6), "video")
        )

    def answer(self, path: str) -> tuple[bytes, bool]:
        """The next answer, and whether the connection is closed after it."""
        rng = self.rng
        route = route_of(path)
        self.routes[route] += 1
        self.answered += 1
        body = self.last = self.body(route)
        if rng.random() >= self.odd_http_share:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            return head + body, False
        return self._odd(body)

    def _odd(self, body: bytes) -> tuple[bytes, bool]:
        rng = self.rng
        self.odd += 1
        head = b"HTTP/1.1 %s\r\nContent-Type: %s\r\n" % (rng.choice(_STATUSES), rng.choice(_TYPES))
        length = b"Content-Length: %d\r\n" % len(body)
        match rng.randrange(8):
            case 0 | 1 | 2:
                return head + self._odd_length(body), True
            case 3:
                return head + self._coded(body), True
            case 4:
                more = b"".join(b"X-%d: a\r\n" % number for number in range(rng.choice((10, 300))))
                more = rng.choice((more, b"X-Long: " + b"x" * rng.choice((100, 9_000, 70_000)) + b"\r\n"))
                return head + more + b"Content-Length: 2\r\n\r\n{}", True
            case 5:
                return self.mutator.spoiled(head + length + b"\r\n" + body), True
            case 6:
                whole = (
                    rng.randbytes(rng.choice((0, 1, 50, 5_000))), b"HTTP/1.0 200 OK\r\n\r\n" + body,
                    head + b"Set-Cookie: a=b; Domain=.com\r\nConnection: close\r\n\r\n" + body,
                )  # fmt: skip
                return rng.choice(whole), True
            case _:
                return b"HTTP/1.1 100 Continue\r\n\r\n" * rng.randrange(1, 20) + head + length + b"\r\n" + body, False

    def _odd_length(self, body: bytes) -> bytes:
        rng = self.rng
        size = len(body)
        chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (size, body)
        chunks = chunks if rng.random() < 0.5 else self.mutator.spoiled(chunks)
        absurd = rng.choice((b"-1", b"9" * 40, b"abc", b"+5", b"0x5", b"99999999999999"))
        return rng.choice((
            b"Content-Length: %d\r\n\r\n%s" % (size + 100, body),
            b"Content-Length: %d\r\nContent-Length: 3\r\n\r\n%s" % (size, body),
            b"Content-Length: %s\r\n\r\n%s" % (absurd, body),
            b"Transfer-Encoding: chunked\r\n\r\n" + chunks,
        ))  # fmt: skip

    def _coded(self, body: bytes) -> bytes:
        rng = self.rng
        packed = rng.choice((gzip.compress(body), zlib.compress(body), body, _SMALL_BOMB))
        coding = rng.choice((b"gzip", b"deflate", b"br", b"zstd", b"identity", b"gzip, gzip", b"nonsense"))
        if rng.random() < 0.002:
            packed, coding = _LARGE_BOMB, b"gzip"
        return b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (coding, len(packed)) + packed

    # The event stream

    def frames(self, most: int) -> tuple[bytes, int]:
        """Some frames and the end of the stream: a goodbye, or what is no frame. Gives them and how many there are."""
        rng = self.rng
        count = rng.randrange(1, most + 1) if most else 0
        written = []
        for _ in range(count):
            if rng.random() < 0.1:
                written.append(_frame(2, rng.randbytes(rng.choice((0, 4, 4_000)))))
            else:
                text = self.mutator.json(rng.choice(seeds.frames()))
                written.append(_frame(1, text.decode("utf-8", "replace").encode()))
        ends = (
            _frame(8, b"\x03\xe8"), _frame(8, b"\x03"), _frame(1, b"\xff\xfe"), b"\xff" * 20, _frame(3, b"x"),
            b"\x81\x7f" + b"\xff" * 8,
            b"\xc1\x02hi", b"\x09\x00", b"\x01\x01a\x01\x01b", b"",
        )  # fmt: skip
        return b"".join((*written, rng.choice(ends))), count

    async def listen(self) -> tuple[asyncio.Server, str]:
        """Listen on a free port; gives the URL."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0)
        return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


class _Connection(asyncio.Protocol):
    def __init__(self, comfyui: HostileComfyUI) -> None:
        self._comfyui = comfyui
        self._asked = b""
        self._streams = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._streams:
            return
        self._asked += data
        while b"\r\n\r\n" in self._asked:
            head, _, self._asked = self._asked.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode("ascii", "replace")
            if path.startswith("/ws"):
                self._stream(head)
                return
            answer, close = self._comfyui.answer(path)
            self._transport.write(answer)
            if close:
                self._transport.close()
                return

    def _stream(self, head: bytes) -> None:
        """Open the event stream, say a lot, and end it."""
        self._streams = True
        key = re.search(rb"\r\nSec-WebSocket-Key: *([^\r]+)", head)
        accept = base64.b64encode(hashlib.sha1((key[1] if key else b"") + _MAGIC).digest())
        said, count = self._comfyui.frames(self._comfyui.most_frames)
        self._comfyui.streams += 1
        self._comfyui.frames_sent += count
        switch = (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        )
        self._transport.write(switch + accept + b"\r\n\r\n" + said)
        self._transport.write_eof()


def _frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes([0x80 | opcode, size]) + payload
    if size < 65_536:
        return bytes([0x80 | opcode, 126]) + size.to_bytes(2, "big") + payload
    return bytes([0x80 | opcode, 127]) + size.to_bytes(8, "big") + payload
