"""A million malformed inputs, from every side from which the exporter takes any: no crash, bounded memory, all counted.

    python bench/fuzz.py [--inputs 1000000] [--seed 1] [--only bodies,frames,push,files,process]

Real recordings of ComfyUI, messages, requests and files are spoiled in their values, their writing and their bytes, by
a generator with a seed. Most of it goes through the real code in this process: the HTTP client (from a hostile server
on loopback), listener, poller, tracker, metrics, board, push hub, configuration. The rest goes to a running exporter
with a SQLite store, through real sockets. Every few thousand inputs the exposition is read with prometheus_client's
parsers and its series are counted. An input is accepted or refused in a documented way; the sum has to be what was fed.
Writes bench/results/fuzz.json; ends with 1 if anything crashed, was not counted, or grew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from hostile import files  # noqa: E402
from hostile.pushing import Pushing  # noqa: E402
from hostile.real_exporter import RealExporter  # noqa: E402
from hostile.stand import Stand  # noqa: E402
from hostile.tally import Tally  # noqa: E402
from hostile.watching import Watching  # noqa: E402

RESULTS = HERE / "results" / "fuzz.json"

SHARES = {
    "bodies": 0.30, "frames": 0.25, "push": 0.13, "configs": 0.05, "web_configs": 0.03, "server_files": 0.04,
    "answers": 0.03, "stream": 0.05, "messages": 0.02, "requests": 0.10,
}  # fmt: skip
"""Of all inputs. The last four are for the process."""

SLOWEST = 1.0
"""Seconds for which no single input may hold the loop."""

GROWTH_MB = 300.0
"""More than this is not what its bounds allow."""


def rss_mb(field: str = "VmRSS") -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise LookupError(field)


def watch(bodies: int, frames: int, seed: int, details: dict[str, Any]) -> list[Tally]:
    watching = Watching(seed)
    asyncio.run(watching.run(bodies, frames))
    details["watching"] = {
        "routes": dict(watching.comfyui.routes),
        "most_kept": watching.most,
        "most_series": watching.series,
        "exposition_kb": round(watching.exposition_bytes / 1000, 1),
        "log_lines": watching.log_lines,
        "log_kb": round(watching.log_bytes / 1000, 1),
    }
    return [watching.bodies, watching.frames]


def push(inputs: int, seed: int) -> Tally:
    async def feed() -> Tally:
        stand = Stand("http://127.0.0.1:1", Random(seed))
        await stand.start()
        pushing = Pushing(stand.push.hub, seed)
        began = time.perf_counter()
        await pushing.run(inputs)
        pushing.tally.seconds = time.perf_counter() - began
        await stand.stop()
        return pushing.tally

    return asyncio.run(feed())


def process(counts: dict[str, int], seed: int, folder: Path, details: dict[str, Any]) -> list[Tally]:
    exporter = RealExporter(folder, seed)
    asyncio.run(exporter.run(counts["answers"], counts["stream"], counts["messages"], counts["requests"]))
    details["process"] = {
        "servers": 40,
        "rss_mb": exporter.rss_mb,
        "slowest_health_answer_ms": round(exporter.slowest_health * 1000, 1),
        "log_lines": exporter.log_lines,
        "log_kb": round(exporter.log_bytes / 1000, 1),
    }
    return [exporter.answers, exporter.frames, exporter.pushes, exporter.requests]


def row(tally: Tally) -> dict[str, Any]:
    return {
        "channel": tally.channel,
        "fed": tally.fed,
        "counted": tally.counted,
        "outcomes": dict(sorted(tally.outcomes.items())),
        "crashes": tally.crashed,
        "slowest_ms": round(tally.slowest * 1000, 1),
        "seconds": round(tally.seconds, 1),
    }


def table(rows: list[dict[str, Any]]) -> None:
    print(f"{'channel':36} {'fed':>9} {'counted':>9} {'crashes':>7} {'slowest':>9} {'seconds':>7}  outcomes")
    for each in rows:
        outcomes = ", ".join(f"{name} {count}" for name, count in each["outcomes"].items())
        print(
            f"{each['channel']:36} {each['fed']:9} {each['counted']:9} {each['crashes']:7}"
            f" {each['slowest_ms']:6.1f} ms {each['seconds']:7.0f}  {outcomes}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="bodies,frames,push,files,process")
    arguments = parser.parse_args()
    only = set(arguments.only.split(","))
    counts = {name: int(share * arguments.inputs) for name, share in SHARES.items()}
    seed = arguments.seed
    tallies: list[Tally] = []
    details: dict[str, Any] = {}
    began, before = time.perf_counter(), rss_mb()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "process" in only:
            tallies += process(counts, seed, folder, details)
        begun, memory = rss_mb(), {}
        if {"bodies", "frames"} & only:
            tallies += watch(
                counts["bodies"] if "bodies" in only else 0, counts["frames"] if "frames" in only else 0, seed, details
            )
            memory["after ComfyUI's side"] = rss_mb()
        if "push" in only:
            tallies.append(push(counts["push"], seed))
            memory["after push clients"] = rss_mb()
        if "files" in only:
            for read, count in (
                (files.configs, "configs"),
                (files.web_configs, "web_configs"),
                (files.server_files, "server_files"),
            ):
                start = time.perf_counter()
                tallies.append(read(counts[count], Random(seed), folder))
                tallies[-1].seconds = time.perf_counter() - start
            memory["after files"] = rss_mb()
    rows = [row(tally) for tally in tallies]
    result = {
        "seed": seed,
        "fed": sum(tally.fed for tally in tallies),
        "counted": sum(tally.counted for tally in tallies),
        "crashes": sum(tally.crashed for tally in tallies),
        "minutes": round((time.perf_counter() - began) / 60, 1),
        "rss_mb": {
            "begin": round(before, 1),
            "begin in process": round(begun, 1),
            **{place: round(size, 1) for place, size in memory.items()},
            "peak": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1),
        },
        "channels": rows,
        **details,
    }
    table(rows)
    print(json.dumps({key: value for key, value in result.items() if key != "channels"}, indent=2))
    for tally in tallies:
        for crash in tally.crashes:
            print(f"\n{crash.channel}: {crash.what}\n  after {crash.input!r}")
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if _fine(tallies, before) else 1


def _fine(tallies: list[Tally], before: float) -> bool:
    grown = rss_mb() - before
    return grown < GROWTH_MB and all(
        not tally.crashed and tally.counted >= tally.fed and tally.slowest < SLOWEST for tally in tallies
    )


if __name__ == "__main__":
    sys.exit(main())
