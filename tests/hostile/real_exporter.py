"""A real exporter under fire from all sides: servers that it watches, clients of its push port, requests to its API."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path
from random import Random

from hostile import seeds
from hostile.api import Requests
from hostile.comfyui_server import HostileComfyUI
from hostile.mutate import Mutator
from hostile.pushing import masked
from hostile.tally import Tally

SERVERS = 40
_AT_ONCE = 40
"""Messages that a push client may send in a go, and some are left of its burst."""

_LAST = b'{"type":"ping","id":"the last of these"}'
_SETTLE = 3.0
"""Seconds in which it takes the frames that were sent before we count."""

_SILENCE = 20.0
"""Seconds without anything new after which the rest will not come."""

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


class RealExporter:
    """`comfyui-exporter run` as a process with a store, watching hostile servers of ours."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._rng = Random(seed)
        self._comfyuis = [HostileComfyUI(Random(seed + number), good_share=0.3) for number in range(SERVERS)]
        self.answers = Tally("answers to a running exporter")
        self.frames = Tally("frames to a running exporter")
        self.pushes = Tally("push messages to a running exporter")
        self.requests = Tally("requests to the exporter")
        self.rss_mb: dict[str, float] = {}
        self.slowest_health = 0.0
        self.log = folder / "exporter.log"

    async def run(self, answers: int, frames: int, pushes: int, requests: int) -> None:
        """Feed at least so many answers and frames, and so many of the others."""
        listening = []
        servers = []
        for number, comfyui in enumerate(self._comfyuis):
            comfyui.good_prompts = 0.6
            listener, url = await comfyui.listen()
            listening.append(listener)
            servers.append({"name": f"gpu{number}", "url": url})
        config = self._folder / "exporter.yml"
        config.write_text(
            json.dumps(
                {"servers": servers, "poll_interval": "100ms", "request_timeout": "1s", "job_labels": ["project"]}
            )
        )
        with self.log.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "comfyui_exporter", "run", "--config.file", str(config), "--store.url",
                f"sqlite:///{self._folder / 'jobs.db'}", "--web.listen-address", "127.0.0.1:0",
                "--push.listen-address", "127.0.0.1:0",
                stderr=log, env={name: value for name, value in os.environ.items() if not name.startswith("COMFYUI")},
            )  # fmt: skip
        try:
            web, push = await self._ports()
            await asyncio.sleep(2)
            self.rss_mb["begin"] = _memory_mb(process.pid, "VmRSS")
            watching = asyncio.create_task(self._look(web))
            begun = time.perf_counter()
            api = Requests("127.0.0.1", web, self._rng.getrandbits(30))
            api.tally = self.requests
            await asyncio.gather(api.run(requests), self._push(push, pushes))
            self.requests.seconds = self.pushes.seconds = time.perf_counter() - begun
            await self._until(answers, frames)
            for comfyui in self._comfyuis:
                comfyui.most_frames = 0
            await asyncio.sleep(_SETTLE)
            watching.cancel()
            self.answers.seconds = self.frames.seconds = time.perf_counter() - begun
            self.rss_mb |= {"end": _memory_mb(process.pid, "VmRSS"), "peak": _memory_mb(process.pid, "VmHWM")}
            await self._count(web)
            if process.returncode is not None:
                self.answers.complain(f"the exporter ended with {process.returncode}")
        finally:
            for listener in listening:
                listener.close()
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
        self._read_log()

    async def _ports(self) -> tuple[int, int]:
        async with asyncio.timeout(30):
            while True:
                found = re.findall(r"msg=listening address=127\.0\.0\.1:([0-9]+)", self.log.read_text())
                if len(found) == 2:
                    return int(found[0]), int(found[1])
                await asyncio.sleep(0.05)

    async def _look(self, port: int) -> None:
        """Ask whether it lives, again and again: what holds its loop makes the answer late."""
        while True:
            began = time.perf_counter()
            with contextlib.suppress(OSError):
                await asyncio.to_thread(_get, port, "/-/healthy")
            self.slowest_health = max(self.slowest_health, time.perf_counter() - began)
            await asyncio.sleep(0.1)

    async def _until(self, answers: int, frames: int) -> None:
        def so_far() -> tuple[int, int]:
            return sum(each.answered for each in self._comfyuis), sum(each.frames_sent for each in self._comfyuis)

        before, since = so_far(), time.perf_counter()
        while (now := so_far())[0] < answers or now[1] < frames:
            if now != before:
                before, since = now, time.perf_counter()
            if time.perf_counter() - since > _SILENCE:
                return
            await asyncio.sleep(0.2)

    async def _count(self, port: int) -> None:
        """Compare what was fed with what it counted."""
        text = await asyncio.to_thread(_get, port, "/metrics")
        fed, again = sum(each.answered for each in self._comfyuis), sum(each.odd for each in self._comfyuis)
        results: Counter[str] = Counter()
        for route, result, value in re.findall(
            r'^comfyui_exporter_requests_total\{[^}]*route="([^"]+)",result="(\w+)"\} (\S+)', text, re.MULTILINE
        ):
            if route != "/ws":
                results[result] += int(float(value))
        events: Counter[str] = Counter()
        for kind, value in re.findall(r'^comfyui_exporter_events_total\{[^}]*type="(\w+)"\} (\S+)', text, re.MULTILINE):
            events[kind if kind in {"malformed", "binary"} else "accepted as valid"] += int(float(value))
        self.answers.fed, self.answers.outcomes = fed, results
        self.frames.fed, self.frames.outcomes = sum(each.frames_sent for each in self._comfyuis), events
        # One may be under way with each server; aiohttp asks again by itself after an answer that is no HTTP; a part of
        # an answer that cannot be used counts besides the answer.
        if self.answers.counted < fed - again - SERVERS:
            self.answers.complain(f"{fed} answers, {dict(results)} counted")
        if self.frames.counted != self.frames.fed:
            self.frames.complain(f"{self.frames.fed} frames, {dict(events)} counted")

    async def _push(self, port: int, inputs: int) -> None:
        rng = self._rng
        mutator = Mutator(rng)
        tally = self.pushes
        while tally.fed < inputs:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
            try:
                writer.write(
                    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                )
                await reader.readuntil(b"\r\n\r\n")
                given = [self._message(mutator) for _ in range(min(_AT_ONCE, inputs - tally.fed))]
                tally.fed += len(given)
                writer.write(b"".join(masked(each, rng) for each in (*given, _LAST)))
                async with asyncio.timeout(30):
                    answered = await self._answers(reader, tally)
                tally.outcomes["closed"] += len(given) - answered
            except (TimeoutError, ConnectionError, asyncio.IncompleteReadError) as error:
                tally.complain(repr(error))
            finally:
                writer.transport.abort()

    def _message(self, mutator: Mutator) -> bytes:
        """Mostly a text as it has to be: after one that is none, all that follows on its socket is lost."""
        message = mutator.json(self._rng.choice(seeds.REQUESTS))[:60_000]
        return message if self._rng.random() < 0.02 else message.decode("utf-8", "replace").encode()

    @staticmethod
    async def _answers(reader: asyncio.StreamReader, tally: Tally) -> int:
        """Count answers until that to the last message, or a close frame, which stands for all the rest."""
        answered = 0
        while True:
            first, size = await reader.readexactly(2)
            if size >= 126:
                size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
            payload = await reader.readexactly(size)
            if first & 15 == 8:
                return answered
            if first & 15 != 1:
                continue
            message = json.loads(payload)
            if message.get("id") == "the last of these":
                return answered
            if message["type"] in {"error", "pong", "subscribed", "job_progress", "queue_statistics"}:
                answered += 1
                tally.count("refused" if message["type"] == "error" else "accepted as valid")
                if message["type"] == "error" and message["error"]["code"] == "internal":
                    tally.complain(payload.decode())

    def _read_log(self) -> None:
        lines = self.log.read_bytes().decode("utf-8", "replace").split("\n")
        self.log_lines, self.log_bytes = len(lines) - 1, self.log.stat().st_size
        for line in lines[:-1]:
            # What somebody else said stands in quotes, and may look like this too.
            if re.match(r"ts=\S+ level=error ", line) or " traceback=" in _QUOTED.sub("", line):
                self.answers.complain(f"logged: {line[:3_000]}")
            if not (line.isprintable() and line.startswith("ts=")):
                self.answers.complain(f"no log line of ours: {line[:500]!r}")

    log_lines = log_bytes = 0


def _get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as response:
        text: str = response.read().decode()
        return text


def _memory_mb(pid: int, field: str) -> float:
    found = re.search(rf"^{field}:\s+([0-9]+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return round(int(found[1]) * 1024 / 1e6, 1) if found else 0.0
