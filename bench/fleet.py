"""What watching many servers costs, with their event streams, and whether each server more costs the same.

    python bench/fleet.py [--servers 1,100,1000,5000] [--seconds S] [--working SHARE]

A process of `comfyui-exporter run` watches so many simulated ComfyUIs every 2 s and listens to their event streams.
They are ports of one process of ours, each a whole simulator. All do a few jobs at first, so that the exporter gets
some 300 series of each. Then its CPU time is taken from /proc, first while all are idle, last while a share of them has
a job running with a progress event each half a second; between these, what a scrape of everything, and of a tenth of
it, costs. Nothing is asserted. Writes bench/results/fleet.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import platform
import resource
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

from processes import cpu_seconds, free_port, memory_mb, running

from comfyui_exporter.simulator.simulation import Simulation
from comfyui_exporter.simulator.workflows import image

RESULTS = Path(__file__).parent / "results" / "fleet.json"

POLL_INTERVAL = 2.0
QUICK, USUAL = 100.0, 0.2
"""How fast jobs run while series are made, and when they are to last: a sampler step takes about half a second then."""

MANY_STEPS = 10_000

JOBS_FOR_SERIES = 2
SETTLE = 20.0
"""Seconds that do not count after a start or a change; a connection's first minute is no different."""

SCRAPES = 7


# The servers


class Servers:
    """Simulated ComfyUIs in this process."""

    def __init__(self, count: int) -> None:
        self._simulations = [Simulation(seed=seed, speed=QUICK) for seed in range(count)]

    async def start(self, stack: AsyncExitStack) -> list[str]:
        for simulation in self._simulations:
            await stack.enter_async_context(simulation)
        return [simulation.url for simulation in self._simulations]

    async def make_series(self) -> None:
        """Each does some jobs, of which a few fail."""
        for simulation in self._simulations:
            simulation.traffic.failure_rate = 0.2
            for _ in range(JOBS_FOR_SERIES):
                simulation.traffic.submit()
            await asyncio.sleep(0.02)
        while any(simulation.comfy.queue_remaining for simulation in self._simulations):
            await asyncio.sleep(0.5)

    def work(self, share: float) -> None:
        """This share of the servers begins a job of many steps, submitted without a client_id: all sockets hear it."""
        for simulation in self._simulations[: round(share * len(self._simulations))]:
            simulation.executor.speed = USUAL
            graph = image(Random(1)).graph
            graph["3"]["inputs"]["steps"] = MANY_STEPS
            status, answer = simulation.comfy.submit({"prompt": graph})
            assert status == 200, answer


def serve(count: int, pipe: Connection) -> None:
    """Serve in a process of its own: does what comes through the pipe, until `end`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    async def main() -> None:
        servers = Servers(count)
        async with AsyncExitStack() as stack:
            pipe.send(await servers.start(stack))
            while (told := await asyncio.to_thread(pipe.recv)) != "end":
                if told == "series":
                    await servers.make_series()
                else:
                    servers.work(float(told))
                pipe.send("done")

    asyncio.run(main())


# The exporter


@dataclass
class Cost:
    """Of the exporter, while its servers were so."""

    cpu_percent: float
    polls_per_s: float
    events_per_s: float
    us_per_poll: float
    """All its CPU time, events and the rest included, by the number of polls."""


@dataclass
class Scrape:
    """What an answer to a scrape holds and takes."""

    series: int
    megabytes: float
    ms: float
    """Median."""
    cpu_ms: float


@dataclass
class Size:
    """What was measured with so many servers."""

    servers: int
    seconds_to_ready: float
    rss_mb: float
    """While all are idle and nothing was scraped; then, with the scrapes and the work, at the end, and at most."""
    end_rss_mb: float
    peak_rss_mb: float
    idle: Cost
    working: Cost
    scrape_all: Scrape
    scrape_tenth: Scrape


def get(port: int, query: str = "") -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics{query}", timeout=60) as response:
        body: bytes = response.read()
        return body


def total(text: str, start: str) -> float:
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(start))


def counts(port: int) -> tuple[float, float]:
    """How many polls and events there were, of all servers."""
    text = get(port).decode()
    polls = sum(
        float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith("comfyui_exporter_requests_total") and 'route="/prompt"' in line
    )
    return polls, total(text, "comfyui_exporter_events_total")


def cost(pid: int, port: int, seconds: float) -> Cost:
    before = counts(port)
    time.sleep(3)  # what the scrape left to do
    cpu, began = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    spent, took = cpu_seconds(pid) - cpu, time.monotonic() - began
    after = counts(port)
    whole = time.monotonic() - began + 3
    polls, events = ((later - sooner) / whole for later, sooner in zip(after, before, strict=True))
    return Cost(
        round(100 * spent / took, 2), round(polls, 1), round(events, 1), round(1e6 * spent / took / max(polls, 1e-9), 1)
    )


def scrape(pid: int, port: int, query: str = "") -> Scrape:
    times, cpus, body = [], [], b""
    for _ in range(SCRAPES):
        time.sleep(POLL_INTERVAL)  # so that what is polled has changed, as between scrapes
        cpu, began = cpu_seconds(pid), time.perf_counter()
        body = get(port, query)
        times.append((time.perf_counter() - began) * 1000)
        cpus.append((cpu_seconds(pid) - cpu) * 1000)
    series = sum(1 for line in body.splitlines() if not line.startswith(b"#"))
    ms, cpu_ms = statistics.median(times), statistics.mean(cpus)
    return Scrape(series, round(len(body) / 1e6, 2), round(ms, 1), round(cpu_ms, 1))


@contextmanager
def servers(count: int) -> Iterator[tuple[Connection, list[str]]]:
    """Simulated ComfyUIs in a process of their own: how to tell them what to do, and their URLs."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(count, theirs), daemon=True)
    process.start()
    try:
        yield ours, ours.recv()
        ours.send("end")
        process.join(20)
    finally:
        process.kill()


def tell(pipe: Connection, what: str) -> None:
    pipe.send(what)
    pipe.recv()


def measure(count: int, seconds: float, share: float, flags: list[str]) -> Size:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, servers(count) as (pipe, urls):
        groups = [
            {"targets": [url.removeprefix("http://")], "labels": {"server": f"gpu{number:04}"}}
            for number, url in enumerate(urls)
        ]
        Path(folder, "servers.json").write_text(json.dumps(groups))
        config = Path(folder, "comfyui.yml")
        config.write_text(f"poll_interval: {POLL_INTERVAL:g}s\nserver_files: [servers.json]\n")
        usual = ("--config.file", str(config), "--store.url", "memory", "--push.listen-address", "")
        began = time.monotonic()
        with running("run", *usual, "--web.listen-address", f"127.0.0.1:{port}", *flags) as pid:
            ready(port)
            to_ready = round(time.monotonic() - began, 1)
            tell(pipe, "series")
            time.sleep(SETTLE)
            rss = memory_mb(pid)
            idle = cost(pid, port, seconds)
            all_of_them, tenth = scrape(pid, port), scrape(pid, port, "?slice=0/10")
            tell(pipe, str(share))
            time.sleep(SETTLE / 2)
            working = cost(pid, port, seconds)
            return Size(
                count, to_ready, round(rss, 1), round(memory_mb(pid), 1), round(memory_mb(pid, "VmHWM"), 1),
                idle, working, all_of_them, tenth,
            )  # fmt: skip


def ready(port: int) -> None:
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=10):
                return
        except OSError:
            time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", default="1,10,100,1000", help="so many, one measurement each")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--working", type=float, default=0.1, help="share of the servers that have a job running")
    parser.add_argument("flags", nargs="*", help="further flags of the exporter, after --")
    options = parser.parse_args()
    sizes = []
    for count in map(int, options.servers.split(",")):
        size = measure(count, options.seconds, options.working, options.flags)
        sizes.append(size)
        print(json.dumps(asdict(size)), flush=True)
    results = {
        "python": platform.python_version(),
        "poll_interval_s": POLL_INTERVAL,
        "seconds": options.seconds,
        "working_share": options.working,
        "sizes": [asdict(size) for size in sizes],
    }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
