"""Kill the exporter a hundred times in ten thousand jobs, restart ComfyUI, take the store away, and count again.

    python bench/chaos.py                      # on SQLite and on PostgreSQL
    python bench/chaos.py --store sqlite --jobs 1000 --kills 10 --restarts 2 --seed 7

A simulated ComfyUI keeps a ledger of every job. The exporter is a real process, ended by kill -9 at random instants; a
real Prometheus (PROMETHEUS, else `prometheus` on the PATH) scrapes it through all of it. At the end /metrics, the
samples of Prometheus and the job log must say what the ledger says: nothing lost, nothing double, and no sample below
the one before. PostgreSQL is one of its own, from the system's package. Writes bench/results/chaos.json if both stores
were true to the ledger.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from postgres import Postgres  # noqa: E402
from survival.stores import Memory, PostgresDatabase, Sqlite, SqliteOnFullDisk, Store, small_disk  # noqa: E402
from survival.story import Plan, Story, StuckError, story, told  # noqa: E402
from survival.verdict import Verdict  # noqa: E402

STORES = ("both", "sqlite", "postgres", "full-disk", "memory")
"""full-disk: SQLite on a small disk that fills up, which only root can mount; memory: what kills do without a store."""

RESULTS = HERE / "results" / "chaos.json"


@contextmanager
def store_of(kind: str, folder: Path) -> Iterator[Store]:
    if kind == "sqlite":
        yield Sqlite(folder)
    elif kind == "full-disk":
        disk = folder / "disk"
        disk.mkdir()
        with small_disk(disk):
            yield SqliteOnFullDisk(disk)
    elif kind == "postgres":
        with Postgres() as server:
            yield PostgresDatabase(server, server.new_database())
    else:
        yield Memory()


async def tell_progress(happening: Story) -> None:
    while True:
        await asyncio.sleep(20)
        print(f"  {happening.jobs} jobs, {told(happening.happened, happening.exporter.exits)}", flush=True)


async def play(plan: Plan, kind: str, journal: str | None, scrape_ms: int) -> tuple[Verdict, dict[str, object]]:
    """One life on one store."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="comfyui-exporter-chaos-") as name, store_of(kind, Path(name)) as store:
        async with story(plan, store, Path(name), scrape_ms) as happening:
            print(f"{store.name}: {plan}", flush=True)
            progress = asyncio.create_task(tell_progress(happening))
            try:
                await happening.begin()
                await happening.live()
                verdict = await happening.settle()
            finally:
                progress.cancel()
                if journal:
                    happening.journal.save(f"{journal}.{kind}")
                    Path(f"{journal}.{kind}.log").write_text(happening.exporter.log_tail(100_000))
            report(happening, verdict)
            print(f"{time.monotonic() - began:.0f} s\n", flush=True)
            return verdict, result_of(happening, verdict, store.name, time.monotonic() - began)


def report(happening: Story, verdict: Verdict) -> None:
    exporter = happening.exporter
    print(verdict.table())
    print(told(happening.happened, exporter.exits))
    for line in [*dict.fromkeys(exporter.exits)][:10]:
        print(f"  it ended by itself: {line}")
    for line in [*dict.fromkeys(exporter.complaints())][:10]:
        print(f"  it logged: {line}")
    if verdict.true:
        return
    for line in verdict.problems()[:40]:
        print(f"WRONG {line}")
    began = time.time() - time.monotonic() + happening.journal.began
    for series in verdict.series:
        if series.name == "comfyui_restarts_total":
            rises = [f"{at - began:.3f}" for (_, was), (at, value) in pairwise(series.samples) if value > was]
            print(f"restarts counted at {' '.join(rises)}")
    for prompt_id in verdict.offenders[:5]:
        print(f"--- {prompt_id}")
        print("\n".join(happening.journal.around(prompt_id)))


def result_of(happening: Story, verdict: Verdict, store: str, seconds: float) -> dict[str, object]:
    happened = happening.happened
    return {
        "store": store,
        "seed": happening.plan.seed,
        "jobs": happening.jobs,
        "kills": happened.kills,
        "restarts": happened.restarts,
        "histories_cleared": happened.clears,
        "outages": happened.outages,
        "lost": verdict.lost,
        "double": verdict.double,
        "falls": sum("fell from" in line for line in verdict.samples),
        "never_shown": len(verdict.unknowable),
        "shown_only_to_a_dead_exporter": len(verdict.doubtful),
        "seconds": round(seconds),
    }


def main(options: argparse.Namespace) -> int:
    # All processes that were started end with this one, however it is told to.
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    plan = Plan(
        jobs=options.jobs,
        kills=options.kills,
        restarts=options.restarts,
        clears=options.clears,
        outages=options.outages,
        seed=options.seed,
    )
    if options.outage is not None:
        plan = replace(plan, outage_s=options.outage)
    wrong, results = 0, []
    for kind in ("sqlite", "postgres") if options.store == "both" else (options.store,):
        try:
            verdict, result = asyncio.run(play(plan, kind, options.journal, options.scrape_ms))
        except BaseExceptionGroup as several:
            stuck = several.subgroup(StuckError)
            if stuck is None:
                raise
            print("STUCK", *stuck.exceptions, sep="\n")
            return 1
        except StuckError as stuck:
            print(f"STUCK {stuck}")
            return 1
        wrong += not verdict.true
        results.append(result)
    if not wrong and options.store == "both":
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print("Nothing lost, nothing double." if not wrong else "WRONG, see above.")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=STORES, default="both")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--restarts", type=int, default=20, help="of ComfyUI")
    parser.add_argument("--clears", type=int, default=5, help="of ComfyUI's whole history")
    parser.add_argument("--outages", type=int, default=3, help="of the store")
    parser.add_argument("--outage", type=float, help="seconds of one, at most")
    parser.add_argument("--scrape-ms", type=int, default=250)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--journal", help="write all that happened to FILE.STORE and FILE.STORE.log")
    sys.exit(main(parser.parse_args()))
