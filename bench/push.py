"""What the push service costs: CPU and memory per client, and how late its messages are.

    python bench/push.py [--clients N] [--rate R] [--seconds S] [--quick]

Real processes and sockets on one machine. The service has a core of its own; the clients, in two processes, share the
others, and send the headers of a browser. Each message goes to every client. Latency is from the moment at which the
hub is told of a change to the moment at which a client has read it, so it includes what the clients are behind; every
tenth client takes it.

The naive way beside it is what a service without a hub would do, with the same messages: aiohttp's WebSocketResponse,
and `await ws.send_json(...)` for one client after the other. Nothing is asserted. Writes bench/results/push.json.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import resource
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from processes import cpu_seconds, memory_mb

from comfyui_exporter.jobs.update import ProgressStatus, ProgressUpdate, RunningNode
from comfyui_exporter.push.access import Access
from comfyui_exporter.push.handler import build_push_app
from comfyui_exporter.push.hub import Hub
from comfyui_exporter.push.messages import job_data

RESULTS = Path(__file__).parent / "results" / "push.json"

JOBS = 20
"""That run at the same time; messages are about one after the other."""

PROCESSES = 2
"""Of clients: one alone would be what is measured."""

BURST = 5
"""Messages that come in the same moment, as when one poll shows several changes."""

GOAL_CLIENTS, GOAL_RATE, GOAL_P99_MS, GOAL_KIB, GOAL_WRITES = 5000, 10, 100.0, 15.0, 60_000

SAMPLE = 10
"""Every how manyth client looks at what it reads; the others only read, as all of them share what cores are left."""

_MARK = b'"generation_time":'
_PING = b"\x89\0"
"""No JSON has these bytes."""

_PONG = b"\x8a\x80\0\0\0\0"
_HANDSHAKE = (
    "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nPragma: no-cache\r\n"
    "Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\nOrigin: http://127.0.0.1:9188\r\n"
    "Sec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
)


def update(number: int, moment: float) -> ProgressUpdate:
    """A change as samplers make them; `generation_time` carries the moment to the client."""
    job = number % JOBS
    now = datetime.now(UTC)
    return ProgressUpdate(
        job_id=100_000 + job,
        comfyui_prompt_id=f"5e1f3c52-6d5b-4c5e-9f0a-{job:012d}",
        status=ProgressStatus.PROCESSING,
        progress_percent=round(number % 1000 / 10, 1),
        current_step=number // JOBS % 40,
        total_steps=40,
        estimated_completion=now,
        generation_time=moment,
        server=f"gpu{job % 4}",
        run_id=f"{job:032x}",
        job_type="video",
        batch_id="batch-7",
        node=RunningNode("3", "KSampler", number // JOBS % 40, 40),
        submitted_at=now,
        started_at=now,
        updated_at=now,
    )


# The services


class NobodyAsks:
    """Answers nothing."""

    async def job_progress(self, **_: str | None) -> object:
        return None

    async def queue_statistics(self) -> object:
        return None


class Sent:
    """Counts what was handed over to sockets."""

    def __init__(self) -> None:
        self.messages = 0
        self.lost = 0

    def clients(self, number: int) -> None:
        pass

    def sent(self, messages: int) -> None:
        self.messages += messages

    def dropped(self, messages: int) -> None:
        self.lost += messages


class HubService:
    """What we ship."""

    def __init__(self) -> None:
        self.sent = Sent()
        self._hub = Hub(answers=NobodyAsks(), counts=self.sent, max_clients=1_000_000)
        self.app = build_push_app(self._hub, Access())

    async def tell(self, news: ProgressUpdate) -> None:
        self._hub.job(news)


class NaiveService:
    """One send_json for each client."""

    def __init__(self) -> None:
        self.sent = Sent()
        self._sockets: set[web.WebSocketResponse] = set()
        self.app = web.Application()
        self.app.router.add_get("/", self._serve)

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(heartbeat=30, compress=False)
        await ws.prepare(request)
        await ws.send_json({"type": "snapshot_end"})
        self._sockets.add(ws)
        async for _ in ws:
            pass
        self._sockets.discard(ws)
        return ws

    async def tell(self, news: ProgressUpdate) -> None:
        message = {"type": "progress_update", "data": job_data(news)}
        for ws in list(self._sockets):
            await ws.send_json(message)
            self.sent.messages += 1


SERVICES = {"hub": HubService, "naive": NaiveService}


async def serve(kind: str) -> None:
    """Serve, and do what the lines on stdin say."""
    service = SERVICES[kind]()
    runner = web.AppRunner(service.app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    reply(port=runner.addresses[0][1])
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        if order["do"] == "weigh":
            gc.collect()
            reply(rss_mb=memory_mb(os.getpid()))
        elif order["do"] == "publish":
            reply(**await publish(service, order["rate"], order["seconds"], order["burst"]))
    await runner.cleanup()


async def publish(service: HubService | NaiveService, rate: float, seconds: float, burst: int) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    messages, blocked, done = service.sent.messages, [0.0], False

    async def watch_loop() -> None:
        while not done:
            before = loop.time()
            await asyncio.sleep(0.001)
            blocked[0] = max(blocked[0], loop.time() - before - 0.001)

    watching = loop.create_task(watch_loop())
    cpu, began = cpu_seconds(os.getpid()), loop.time()
    number = 0
    while loop.time() - began < seconds:
        for _ in range(burst):
            await service.tell(update(number, time.monotonic()))
            number += 1
        await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
    await asyncio.sleep(0.5)
    done = True
    await watching
    took = loop.time() - began
    return {
        "told": number,
        "seconds": took,
        "writes": service.sent.messages - messages,
        "replaced": service.sent.lost,
        "cpu_seconds": cpu_seconds(os.getpid()) - cpu,
        "loop_blocked_ms": blocked[0] * 1000,
    }


# The clients


class Clients:
    """Many sockets in one process, read with epoll; cheaper than any library, so that they are not what is measured."""

    def __init__(self, port: int, count: int) -> None:
        self._poll = select.epoll()
        self._rests: dict[int, bytes] = {}
        """What is not read to its end yet, of those that look."""
        self._sockets: dict[int, socket.socket] = {}
        self.latencies: list[float] = []
        self.ended = 0
        handshake = _HANDSHAKE.format(port=port).encode()
        for opened in range(count):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(handshake)
            connection.setblocking(False)
            self._sockets[connection.fileno()] = connection
            if opened % SAMPLE == 0:
                self._rests[connection.fileno()] = b""
            self._poll.register(connection.fileno(), select.EPOLLIN)
            if opened % 100 == 99:
                self.read(0.01)

    def read(self, timeout: float) -> None:
        for number, _ in self._poll.poll(timeout):
            try:
                data = self._sockets[number].recv(65536)
            except BlockingIOError:
                continue
            if not data:
                self._poll.unregister(number)
                self.ended += 1
                continue
            if number in self._rests:
                self._take(number, self._rests[number] + data, time.monotonic())
            elif _PING in data:
                self._sockets[number].send(_PONG)

    def _take(self, number: int, data: bytes, now: float) -> None:
        if data.startswith(b"HTTP/1.1"):
            head, _, data = data.partition(b"\r\n\r\n")
            assert b" 101 " in head, head
        at = 0
        while len(data) - at >= 4:
            size, begin = data[at + 1], at + 2
            if size == 126:
                size, begin = struct.unpack_from("!H", data, at + 2)[0], at + 4
            if len(data) < begin + size:
                break
            if data[at] == _PING[0]:
                self._sockets[number].send(_PONG)
            elif (mark := data.find(_MARK, begin, begin + size)) >= 0:
                self.latencies.append(now - float(data[mark + len(_MARK) :].split(b",", 1)[0]))
            at = begin + size
        self._rests[number] = data[at:]


def attend(port: int, count: int) -> None:
    """Connect, then read until stdin says that it is enough."""
    clients = Clients(port, count)
    settled = time.monotonic() + 1
    while time.monotonic() < settled:
        clients.read(0.1)
    clients.latencies.clear()
    reply(connected=count)
    orders = select.poll()
    orders.register(sys.stdin, select.POLLIN)
    while True:
        if orders.poll(0):
            if not sys.stdin.readline():
                return
            clients.latencies.sort()
            thinned = clients.latencies[:: max(1, len(clients.latencies) // 20_000)]
            reply(latencies=thinned, received=len(clients.latencies), ended=clients.ended, cpu=time.process_time())
            clients.latencies.clear()
        clients.read(0.05)


# The measurement


def reply(**values: Any) -> None:
    print(json.dumps(values), flush=True)


class Worker:
    """One of our processes, spoken with in lines."""

    def __init__(self, cores: set[int], *arguments: str) -> None:
        command = [sys.executable, __file__, *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        os.sched_setaffinity(self._process.pid, cores)

    def read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "a process of the bench ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def tell(self, **order: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass
class Load:
    """What one load cost the service."""

    messages_per_second: float
    burst: int
    """Of messages in the same moment."""
    writes_per_second: float
    """Messages handed over to sockets."""
    service_cpu_percent: float
    writes_per_core_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    loop_blocked_ms: float
    """The longest that something else in the loop of the service had to wait."""
    lost_clients: int


@dataclass
class Result:
    """What one service cost."""

    kind: str
    clients: int
    kib_per_client: float
    loads: list[Load]


@contextmanager
def started(cores: set[int], *arguments: str) -> Iterator[Worker]:
    worker = Worker(cores, *arguments)
    try:
        yield worker
    finally:
        worker.end()


def measure(kind: str, count: int, loads: list[tuple[float, int]], seconds: float) -> Result:
    cores = sorted(os.sched_getaffinity(0))
    own, others = {cores[0]}, set(cores[1:] or cores)
    with started(own, "--serve", kind) as service:
        port = service.read()["port"]
        service.tell(do="weigh")
        before = service.read()["rss_mb"]
        attending = [Worker(others, "--attend", str(count // PROCESSES), "--port", str(port)) for _ in range(PROCESSES)]
        try:
            for worker in attending:
                worker.read()
            service.tell(do="weigh")
            after = service.read()["rss_mb"]
            connected = count // PROCESSES * PROCESSES
            result = Result(kind, connected, (after - before) * 1e6 / 1024 / connected, [])
            for rate, burst in loads:
                result.loads.append(load(service, attending, rate, burst, seconds))
        finally:
            for worker in attending:
                worker.end()
    return result


def load(service: Worker, attending: list[Worker], rate: float, burst: int, seconds: float) -> Load:
    service.tell(do="publish", rate=rate, seconds=seconds, burst=burst)
    told = service.read()
    # What is under way still arrives.
    time.sleep(0.5)
    latencies: list[float] = []
    ended = 0
    for worker in attending:
        worker.tell(do="report")
        seen = worker.read()
        latencies += seen["latencies"]
        ended += seen["ended"]
    latencies.sort()

    def quantile(share: float) -> float:
        return latencies[min(len(latencies) - 1, int(share * len(latencies)))] * 1000 if latencies else float("nan")

    return Load(
        messages_per_second=told["told"] / told["seconds"],
        burst=burst,
        writes_per_second=told["writes"] / told["seconds"],
        service_cpu_percent=100 * told["cpu_seconds"] / told["seconds"],
        writes_per_core_second=told["writes"] / told["cpu_seconds"],
        p50_ms=quantile(0.5),
        p99_ms=quantile(0.99),
        max_ms=quantile(1.0),
        loop_blocked_ms=told["loop_blocked_ms"],
        lost_clients=ended,
    )


def show(results: list[Result]) -> None:
    header = ("", "clients", "msg/s", "burst", "writes/s", "CPU %", "writes/core s", "p50 ms", "p99 ms", "max ms",
              "blocked ms", "KiB/client")  # fmt: skip
    lines = [header]
    for result in results:
        lines += [
            (
                result.kind,
                f"{result.clients:,}",
                f"{each.messages_per_second:.1f}",
                str(each.burst),
                f"{each.writes_per_second:,.0f}",
                f"{each.service_cpu_percent:.0f}",
                f"{each.writes_per_core_second:,.0f}",
                f"{each.p50_ms:.1f}",
                f"{each.p99_ms:.1f}",
                f"{each.max_ms:.1f}",
                f"{each.loop_blocked_ms:.1f}",
                f"{result.kib_per_client:.1f}",
            )
            for each in result.loads
        ]
    widths = [max(len(line[place]) for line in lines) for place in range(len(header))]
    for line in lines:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    print(
        f"Goals: {GOAL_CLIENTS:,} clients, {GOAL_RATE} messages a second, p99 <= {GOAL_P99_MS:.0f} ms, "
        f"<= {GOAL_KIB:.0f} KiB a client; later >= {GOAL_WRITES:,} writes a core second. "
        f"{len(os.sched_getaffinity(0))} cores, of which the service has one."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the push service costs.")
    parser.add_argument("--clients", type=int, default=GOAL_CLIENTS)
    parser.add_argument("--rate", type=float, default=GOAL_RATE, help="messages a second (default: 10)")
    parser.add_argument("--seconds", type=float, default=15.0, help="per load (default: 15)")
    parser.add_argument("--quick", action="store_true", help="3 s per load: a look, not a measurement")
    parser.add_argument("--serve", choices=SERVICES, help=argparse.SUPPRESS)
    parser.add_argument("--attend", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if arguments.serve:
        asyncio.run(serve(arguments.serve))
        return
    if arguments.attend:
        attend(arguments.port, arguments.attend)
        return
    seconds = 3.0 if arguments.quick else arguments.seconds
    rate = arguments.rate
    # One message at a time is the hardest way to send so many; then bursts, then more than the naive way can take.
    results = [
        measure("hub", arguments.clients, [(rate, 1), (rate, BURST), (rate * 5, BURST)], seconds),
        measure("naive", arguments.clients, [(rate, 1)], seconds),
    ]
    show(results)
    ratio = results[0].loads[0].writes_per_core_second / results[1].loads[0].writes_per_core_second
    print(f"A core of the service writes {ratio:.1f} times what the naive way does.")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        json.dumps(
            {
                "python": platform.python_version(),
                "cores": len(os.sched_getaffinity(0)),
                "quick": arguments.quick,
                "seconds": seconds,
                "ratio_to_naive": ratio,
                "results": [asdict(result) for result in results],
            },
            indent=2,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
