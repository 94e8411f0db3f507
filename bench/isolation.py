"""Whether a bad ComfyUI delays the watching of the others, and how the polls of many are spread.

    python bench/isolation.py [--servers N] [--seconds S]

A process of `comfyui-exporter run` watches 100 servers every second. They are ports of one process of ours, which
answers as an idle ComfyUI does and notes when it is asked. First all are well. Then one hangs, one takes 5 s for each
answer, and one sends 200 MB of garbage whenever its queue or history is read, which it gives a reason for with each
answer. How late a poll of the others is: the time since the poll
before, less the poll interval. Nothing is asserted. Writes bench/results/isolation.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import tempfile
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

from aiohttp import web
from processes import cpu_seconds, free_port, memory_mb, running

RESULTS = Path(__file__).parent / "results" / "isolation.json"

POLL_INTERVAL = 1.0
SETTLE = 8.0
"""Seconds that do not count after a start or a change."""

SLOW = 5.0
GARBAGE = 200_000_000
_BEGINNING = b'{"queue_running": ['
"""As an answer begins: what does not is cut off at once."""

_CHUNK = bytes(range(32, 122)) * 1000
"""No JSON, and nothing that compresses into a special case."""

HANGS, IS_SLOW, IS_HUGE = range(3)
ROLES = ("hangs", "takes 5 s", "sends 200 MB of garbage")


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]


class Servers:
    """Idle ComfyUIs on ports of their own, the first three of which can turn bad."""

    def __init__(self) -> None:
        self.bad = False
        self.asked: dict[int, list[float]] = defaultdict(list)
        self.sent = 0

    async def listen(self, count: int) -> list[int]:
        ports = []
        for number in range(count):
            app = web.Application(middlewares=[self._middleware(number)])
            app.router.add_get("/prompt", self._prompt)
            app.router.add_get("/queue", self._queue)
            app.router.add_get("/history", self._history)
            app.router.add_get("/system_stats", self._stats)
            app.router.add_get("/ws", self._events)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            ports.append(runner.addresses[0][1])
        return ports

    def _middleware(self, number: int) -> Middleware:
        @web.middleware
        async def meet(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path == "/prompt":
                self.asked[number].append(time.monotonic())
            if self.bad and request.path != "/ws":
                if number == HANGS:
                    await asyncio.Event().wait()
                if number == IS_SLOW:
                    await asyncio.sleep(SLOW)
                if number == IS_HUGE and request.path == "/prompt":
                    return _remaining(1 + len(self.asked[number]) % 2)
                if number == IS_HUGE:
                    return await self._garbage(request)
            return await handler(request)

        return meet

    async def _garbage(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        with suppress(ConnectionError):  # whoever asked went away
            await response.write(_BEGINNING)
            for _ in range(GARBAGE // len(_CHUNK)):
                await response.write(_CHUNK)
                self.sent += len(_CHUNK)
            await response.write_eof()
        return response

    async def _prompt(self, _: web.Request) -> web.Response:
        return _remaining(0)

    async def _queue(self, _: web.Request) -> web.Response:
        return web.json_response({"queue_running": [], "queue_pending": []})

    async def _history(self, _: web.Request) -> web.Response:
        return web.json_response({})

    async def _stats(self, _: web.Request) -> web.Response:
        return web.json_response({"system": {"os": "posix", "comfyui_version": "0.3.64"}, "devices": []})

    async def _events(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}}})
        async for _ in socket:
            pass
        return socket


def _remaining(jobs: int) -> web.Response:
    return web.json_response({"exec_info": {"queue_remaining": jobs}})


def serve(count: int, pipe: Connection) -> None:
    """Serve in a process of its own; `bad` and `asked` come through the pipe, until `end`."""

    async def main() -> None:
        servers = Servers()
        pipe.send(await servers.listen(count))
        while True:
            match await asyncio.to_thread(pipe.recv):
                case "bad":
                    servers.bad = True
                case "asked":
                    pipe.send((dict(servers.asked), servers.sent))
                    servers.asked.clear()
                    servers.sent = 0
                case _:
                    return

    asyncio.run(main())


def delays(asked: Iterable[list[float]]) -> list[float]:
    """How late each poll was, in milliseconds, best first."""
    return sorted((later - sooner - POLL_INTERVAL) * 1000 for times in asked for sooner, later in pairwise(times))


def quantile(values: list[float], share: float) -> float:
    return round(values[min(len(values) - 1, int(share * len(values)))], 1)


def measure(pipe: Connection, pid: int, seconds: float) -> dict[str, object]:
    pipe.send("asked")
    pipe.recv()
    cpu, began = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    spent = cpu_seconds(pid) - cpu
    took = time.monotonic() - began
    pipe.send("asked")
    asked, sent = pipe.recv()
    late = delays(times for number, times in asked.items() if number > IS_HUGE)
    # In how many of the twentieths of each interval polls begin: all at once would be one twentieth with all.
    starts = [at for number, times in asked.items() if number > IS_HUGE for at in times]
    places = Counter(int(at % POLL_INTERVAL * 20) for at in starts)
    return {
        "polls": len(starts),
        "late_ms": {"p50": quantile(late, 0.5), "p99": quantile(late, 0.99), "most": round(late[-1], 1)},
        "polls_of_the_bad": {role: len(asked.get(number, ())) for number, role in enumerate(ROLES)},
        "garbage_mb_per_s": round(sent / took / 1e6, 1),
        "fullest_twentieth_percent": round(100 * max(places.values()) / len(starts), 1),
        "cpu_percent": round(100 * spent / took, 1),
        "rss_mb": round(memory_mb(pid), 1),
        "peak_rss_mb": round(memory_mb(pid, "VmHWM"), 1),
        "scrape_ms": scrape_ms(),
    }


PORT = free_port()


def scrape_ms() -> float:
    """The median of some scrapes."""
    times = []
    for _ in range(9):
        began = time.perf_counter()
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=30) as response:
            response.read()
        times.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(times), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(arguments.servers, theirs), daemon=True)
    process.start()
    ports = ours.recv()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "servers.json")
        groups = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"server": f"gpu{number}"}}
            for number, port in enumerate(ports)
        ]
        file.write_text(json.dumps(groups))
        config = Path(folder, "comfyui.yml")
        config.write_text(f"poll_interval: {POLL_INTERVAL:g}s\nserver_files: [servers.json]\n")
        flags = ("--config.file", str(config), "--store.url", "memory", "--push.listen-address", "")
        with running("run", *flags, "--web.listen-address", f"127.0.0.1:{PORT}") as pid:
            time.sleep(SETTLE)
            results: dict[str, object] = {"servers": arguments.servers, "poll_interval_s": POLL_INTERVAL}
            results["all_well"] = measure(ours, pid, arguments.seconds)
            ours.send("bad")
            time.sleep(SETTLE)
            results["three_bad"] = measure(ours, pid, arguments.seconds)
    ours.send("end")
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
