"""How quickly an exporter of many servers with a large store is ready, and what a reload of some costs the others.

    python bench/restore.py [--servers 1,100,1000] [--runs N] [--reloads N]

Makes a SQLite store with so many runs of each server (bench/restore_store.py). For each number of servers a process
opens it and begins to watch them, while a timer notes how long its event loop is held up; the servers are ComfyUIs in
which nothing happened since, paths of one process of ours. The largest number is then reloaded: again and again ten
servers go and the ten that went before come back, while all others are polled every 2 s. What a start did before it
read many servers at once, by an index, is done to a few servers of the same store without that index. Nothing is
asserted. Writes bench/results/restore.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import resource
import sqlite3
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from aiohttp import web
from processes import memory_mb
from restore_store import fill, name_of
from sqlalchemy import select

from comfyui_exporter.config.model import Config
from comfyui_exporter.config.sections import Store
from comfyui_exporter.config.servers import ServerConfig
from comfyui_exporter.eta.predictor import LearningPredictor
from comfyui_exporter.monitor import Monitor, made_to_stay
from comfyui_exporter.store.database import open_database
from comfyui_exporter.store.rows import RunRows
from comfyui_exporter.store.schema import ENTRIES, RUNS, SERVERS, TOTALS
from comfyui_exporter.store.totals import total_of

RESULTS = Path(__file__).parent / "results" / "restore.json"

POLL_INTERVAL = 2.0
TEN = 10
TICK = 0.002
"""Seconds between looks at the clock; what they are late by is a stall."""

BEFORE = 5
"""Servers of the way before; each takes as long as the other."""

LESSONS = 300


@dataclass
class Start:
    """What a start took with so many servers."""

    servers: int
    runs: int
    seconds_to_watching: float
    cpu_seconds: float
    rss_mb: float
    """When all are watched."""
    stall_ms: float
    """The longest that the event loop was held up while the store was read; then while all watches began, at once."""
    stall_at_once_ms: float
    seconds_to_estimates: float
    """Until all jobs of before were learned from."""


@dataclass
class Reload:
    """What came of reloads that take some servers away and bring others back, while all are polled."""

    servers: int
    of_which_change: int
    reloads: int
    seconds: float
    """Median."""
    stall_ms: float
    """The longest while a reload ran; then without any, for comparison."""
    stall_otherwise_ms: float
    late_ms: float
    """How late polls of the others were, of 100 the latest but one; then without any reload."""
    late_otherwise_ms: float


@dataclass
class Before:
    """One server at a time, each of what it is by a statement of its own, without an index on the server."""

    servers: int
    measured: int
    seconds_each: float
    seconds_for_all: float
    """As far as can be told from those."""


# The servers


def remembered(path: Path) -> tuple[dict[str, list[object]], dict[str, object]]:
    """The queue of each server as the store has it, and its newest history entry."""
    queues: dict[str, list[object]] = defaultdict(list)
    histories: dict[str, object] = {}
    with closing(sqlite3.connect(path)) as connection:
        for server, *item in connection.execute(
            "SELECT server, number, prompt_id FROM comfyui_runs WHERE ended_at IS NULL ORDER BY seq"
        ):
            queues[server].append([*item, {}, {}, []])
        for server, number, prompt_id, started_ms in connection.execute(
            "SELECT server, number, prompt_id, started_ms FROM comfyui_entries ORDER BY seq"
        ):
            times = [[name, {"timestamp": started_ms}] for name in ("execution_start", "execution_success")]
            histories[server] = {
                prompt_id: {
                    "prompt": [number, prompt_id, {}, {}, []],
                    "outputs": {},
                    "status": {"status_str": "success", "completed": True, "messages": times},
                }
            }
    return queues, histories


def serve(path: Path, pipe: Connection) -> None:
    """Be the ComfyUIs of a store, each under a path of its own; `asked` gives when which was polled."""
    asked: dict[str, list[float]] = defaultdict(list)
    queues, histories = remembered(path)

    async def prompt(request: web.Request) -> web.Response:
        server = request.match_info["server"]
        asked[server].append(time.monotonic())
        return web.json_response({"exec_info": {"queue_remaining": len(queues[server])}})

    async def answer(request: web.Request) -> web.Response:
        server = request.match_info["server"]
        match request.path.rpartition("/")[2]:
            case "queue":
                return web.json_response({"queue_running": [], "queue_pending": queues[server]})
            case "history":
                return web.json_response(histories[server])
            case "system_stats":
                return web.json_response({"system": {"os": "posix", "comfyui_version": "0.3.64"}, "devices": []})
            case _:
                return web.json_response({})

    async def events(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 2}}}})
        async for _ in socket:
            pass
        return socket

    async def main() -> None:
        app = web.Application()
        app.router.add_get("/{server}/prompt", prompt)
        app.router.add_get("/{server}/ws", events)
        app.router.add_get("/{server}/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        pipe.send(runner.addresses[0][1])
        while await asyncio.to_thread(pipe.recv) == "asked":
            pipe.send(dict(asked))
            asked.clear()

    allow_sockets()
    asyncio.run(main())


def allow_sockets() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def servers(path: Path) -> Iterator[tuple[Connection, int]]:
    """Idle ComfyUIs in a process of their own: how to ask when they were polled, and their port."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(path, theirs), daemon=True)
    process.start()
    try:
        yield ours, ours.recv()
        ours.send("end")
        process.join(10)
    finally:
        process.kill()


def config_of(path: Path, port: int, numbers: range | list[int]) -> Config:
    watched = tuple(ServerConfig(name=name_of(n), url=f"http://127.0.0.1:{port}/{name_of(n)}") for n in numbers)
    return Config(servers=watched, store=Store(url=f"sqlite:///{path}"), poll_interval=POLL_INTERVAL)


# The exporter


class Stalls:
    """How long the event loop is held up."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(TICK)
            self.longest = max(self.longest, time.perf_counter() - began - TICK)

    def take(self) -> float:
        """Give the longest since the last call, in milliseconds."""
        longest, self.longest = self.longest, 0.0
        return round(1000 * longest, 1)


@asynccontextmanager
async def stalls() -> AsyncIterator[Stalls]:
    noted = Stalls()
    task = asyncio.create_task(noted.watch())
    try:
        yield noted
    finally:
        task.cancel()


async def start(path: Path, port: int, count: int, runs: int) -> tuple[Monitor, Start]:
    config = config_of(path, port, range(count))
    async with stalls() as noted:
        await asyncio.sleep(0.1)
        noted.take()
        began, cpu = time.perf_counter(), time.process_time()
        monitor = Monitor(config)
        with made_to_stay():
            await monitor.open()
        await asyncio.sleep(2 * TICK)
        opening = noted.take()
        monitor.start()
        seconds, spent = time.perf_counter() - began, time.process_time() - cpu
        await asyncio.sleep(2 * TICK)
        beginning, rss = noted.take(), memory_mb(os.getpid())
        while monitor.is_learning:
            await asyncio.sleep(0.1)
        taught = time.perf_counter() - began
    measured = Start(
        count, runs, round(seconds, 2), round(spent, 2), round(rss, 1), opening, beginning, round(taught, 1)
    )  # fmt: skip
    return monitor, measured


def measure_start(path: Path, port: int, count: int, runs: int, result: Connection) -> None:
    async def main() -> None:
        monitor, measured = await start(path, port, count, runs)
        result.send(measured)
        await monitor.stop()

    allow_sockets()
    asyncio.run(main())


def measure_both(
    path: Path, port: int, count: int, runs: int, reloads: int, asked: Connection, result: Connection
) -> None:
    async def main() -> None:
        monitor, measured = await start(path, port, count, runs)
        result.send(measured)
        async with stalls() as noted:
            others = [name_of(number) for number in range(TEN * reloads, count)]
            otherwise, late_otherwise = await quietly(noted, asked, others)
            result.send(await reload(monitor, noted, asked, others, otherwise, late_otherwise))
        await monitor.stop()

    async def quietly(noted: Stalls, asked: Connection, others: list[str]) -> tuple[float, float]:
        await lateness(asked, others)
        noted.take()
        await asyncio.sleep(2.0 * reloads)
        return noted.take(), await lateness(asked, others)

    async def reload(
        monitor: Monitor, noted: Stalls, asked: Connection, others: list[str], otherwise: float, late_otherwise: float
    ) -> Reload:
        took, stall = [], 0.0
        for number in range(reloads):
            # Ten others go each time; those that went before come back, or at first the ten that were not watched.
            away = set(range(TEN * number, TEN * (number + 1)))
            config = config_of(path, port, [n for n in range(count + TEN) if n not in away])
            await asyncio.sleep(1)
            noted.take()
            began = time.perf_counter()
            undone = await monitor.reconfigure(config)
            took.append(time.perf_counter() - began)
            assert not undone, undone
            await asyncio.sleep(1)
            stall = max(stall, noted.take())
        late = await lateness(asked, others)
        return Reload(count, TEN, reloads, round(statistics.median(took), 2), stall, otherwise, late, late_otherwise)

    allow_sockets()
    asyncio.run(main())


async def lateness(asked: Connection, others: list[str]) -> float:
    """How many milliseconds polls of these servers were late since the last call: 99 % were less."""
    asked.send("asked")
    times: dict[str, list[float]] = await asyncio.to_thread(asked.recv)
    late = sorted(later - sooner - POLL_INTERVAL for name in others for sooner, later in pairwise(times.get(name, [])))
    return round(1000 * late[int(len(late) * 0.99)], 1) if late else 0.0


# The way before


def measure_before(path: Path, count: int, result: Connection) -> None:
    async def main() -> None:
        database = await open_database(f"sqlite:///{path}")
        rows = RunRows(float, float)
        began = time.perf_counter()
        for number in range(BEFORE):
            server, unix = name_of(number), time.time()
            for row in await database.rows(select(TOTALS).where(TOTALS.c.server == server)):
                total_of(row["labels"], row["value"], row["bounds"], row["counts"])
            await database.rows(select(SERVERS).where(SERVERS.c.server == server))
            entries = select(ENTRIES).where(ENTRIES.c.server == server).order_by(ENTRIES.c.seq.desc()).limit(25_000)
            _ = {(row["prompt_id"], row["number"], row["started_ms"]): 0 for row in await database.rows(entries)}
            runs = select(RUNS).where(RUNS.c.server == server)
            lately = runs.where(RUNS.c.ended_at > unix - 900).order_by(RUNS.c.ended_at.desc()).limit(10_000)
            failed = runs.where(RUNS.c.ended_at > unix - 3600, RUNS.c.state == "failed")
            vanished = runs.where(RUNS.c.epoch == 0, RUNS.c.state.in_(["lost", "cancelled"]))
            lessons = runs.where(RUNS.c.status == "completed").order_by(RUNS.c.seq.desc()).limit(LESSONS)
            predictor = LearningPredictor()
            for statement in (
                runs.where(RUNS.c.ended_at.is_(None)), lately, failed, vanished.order_by(RUNS.c.seq.desc()), lessons,
            ):  # fmt: skip
                for row in await database.rows(statement):
                    run = rows.run(row)
                    if statement is lessons:
                        predictor.learn(run)
        each = (time.perf_counter() - began) / BEFORE
        result.send(Before(count, BEFORE, round(each, 3), round(each * count, 1)))
        await database.close()

    asyncio.run(main())


def in_process(many: int, target: Callable[..., None], *arguments: object) -> Iterator[Any]:
    """What a process of its own sends us so many times: memory of one measurement is none of the next."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=target, args=(*arguments, theirs))
    process.start()
    theirs.close()
    for _ in range(many):
        yield ours.recv()
    process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", default="1,100,1000", help="so many, one measurement each; the store has the most")
    parser.add_argument("--runs", type=int, default=1000, help="of each server")
    parser.add_argument("--reloads", type=int, default=10)
    options = parser.parse_args()
    counts = sorted(map(int, options.servers.split(",")))
    most = counts[-1]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder, "jobs.db")
        asyncio.run(fill(path, most + TEN, options.runs, time.time()))
        size = path.stat().st_size
        print(f"{size / 1e6:.0f} MB", flush=True)
        asked, port = stack.enter_context(servers(path))
        measured = []
        for count in counts[:-1]:
            measured += in_process(1, measure_start, path, port, count, options.runs)
            print(measured[-1], flush=True)
        for one in in_process(2, measure_both, path, port, most, options.runs, options.reloads, asked):
            measured.append(one)
            print(one, flush=True)
        *starts, reloaded = measured
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP INDEX comfyui_runs_server")
            connection.execute("DROP INDEX comfyui_totals_server")
        (before,) = in_process(1, measure_before, path, most)
        print(before, flush=True)
    results = {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "store_mb": round(size / 1e6),
        "starts": [asdict(one) for one in starts],
        "reload": asdict(reloaded),
        "before": asdict(before),
    }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
