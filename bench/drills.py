"""Make each alert come true, and see that it is told once, names what it is about, and is told to be over.

    python bench/drills.py                         # all drills, a quarter of an hour
    python bench/drills.py --only down,memory      # these
    python bench/drills.py --healthy 48            # a day of healthy traffic in 48 minutes: no trouble may be told

Real processes: simulated ComfyUIs, exporters, a Prometheus (PROMETHEUS, else `prometheus` on the PATH), an Alertmanager
on the PATH and a receiver. Rules and configurations are those that we ship; only their times are shorter, a minute is
two seconds: `tests/alerting/haste.py` says which. The drills are there too. Writes bench/results/drills.json if all
drills were held and came out right, and bench/results/healthy_day.json after a whole day without a message.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from alerting import alerting_drills, server_drills, watching_drills  # noqa: E402
from alerting.haste import HASTE  # noqa: E402
from alerting.healthy import DAY_MINUTES, Day, healthy  # noqa: E402
from alerting.stage import Row, Stage, stage  # noqa: E402
from alertmanager.programs import alertmanager  # noqa: E402
from prometheus_server import prometheus_program  # noqa: E402

Drill = Callable[[Stage], Coroutine[Any, Any, None]]

TOGETHER: Mapping[str, Drill] = {**server_drills.DRILLS, **watching_drills.DRILLS}
ALONE: Mapping[str, Drill] = alerting_drills.DRILLS
ALL = {**TOGETHER, **ALONE}

RESULTS = HERE / "results" / "drills.json"
HEALTHY_RESULTS = HERE / "results" / "healthy_day.json"


async def hold(names: list[str], at_once: int, keep: Path | None) -> tuple[list[Row], list[str]]:
    """Hold drills, so many at a time; those of Prometheus and Alertmanager come last and alone."""
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="comfyui-exporter-drills-") as name:
        async with stage(keep or Path(name)) as where:
            free = asyncio.Semaphore(at_once)

            async def one(drill: str) -> None:
                async with free:
                    began = time.monotonic()
                    try:
                        await ALL[drill](where)
                    except Exception as error:  # the others go on
                        notes = "\n".join(getattr(error, "__notes__", ()))
                        problems.append(f"{drill}: {type(error).__name__}: {error}\n{notes}")
                    print(f"  {drill}: {time.monotonic() - began:.0f} s", flush=True)

            async with asyncio.TaskGroup() as group:
                for drill in names:
                    if drill in TOGETHER:
                        group.create_task(one(drill))
            problems += [f"rule {line}" for line in await where.prometheus.broken_rules()]
            for drill in names:
                if drill in ALONE:
                    await one(drill)
            watchdog_row(where)
            return where.rows, problems + where.surprises


def watchdog_row(where: Stage) -> None:
    """It was heard all the time, and by nobody else."""
    heard = where.notified.watchdog
    row = Row("Watchdog", "all", "nothing", "info")
    row.messages = min(1, len(heard))
    row.repeats = max(0, len(heard) - 1)
    where.rows.append(row)
    if not heard or where.notified.of("Watchdog", ""):
        where.surprises.append("the watchdog was not heard, or came to the inbox")


def table(rows: list[Row]) -> str:
    """For people."""
    head = ("Alert", "What was done", "Fires after", "Told after", "Messages", "Repeats", "End told after", "Kept back")
    lines = [head]
    for row in sorted(rows, key=lambda row: (row.drill == "all", row.alert)):
        over = "-" if row.resolved is None else f"{row.over_s} s" if row.resolved else "NOT TOLD"
        lines.append(
            (
                row.alert, row.how, "-" if row.fired_s is None else f"{row.fired_s} s",
                "-" if row.told_s is None else f"{row.told_s} s", str(row.messages), str(row.repeats), over,
                ", ".join(row.kept_back),
            )
        )  # fmt: skip
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def versions() -> dict[str, str]:
    """Of the programs."""
    found = {}
    for name, program in (("prometheus", prometheus_program()), ("alertmanager", alertmanager())):
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        match = re.search(r"version ([0-9.]+)", said.stdout + said.stderr)
        found[name] = match[1].rstrip(".") if match else "?"
    return found


def drills(options: argparse.Namespace) -> int:
    names = options.only.split(",") if options.only else [*ALL]
    unknown = set(names) - set(ALL)
    if unknown:
        sys.exit(f"no such drill: {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    programs = versions()
    print(f"{programs}, a minute is {60 / HASTE:g} s", flush=True)
    began = time.monotonic()
    rows, problems = asyncio.run(hold(names, options.at_once, options.keep))
    seconds = round(time.monotonic() - began)
    print(table(rows))
    for row in rows:
        print(f"{row.alert}: {row.text}") if options.texts else None
    print(f"{seconds} s")
    for problem in problems:
        print(f"WRONG {problem}")
    if not problems and not options.only:
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        name = " and ".join(f"{program} {version}" for program, version in programs.items())
        results[name] = {"haste": HASTE, "seconds": seconds, "alerts": [asdict(row) for row in rows]}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    return 1 if problems else 0


def markdown() -> str:
    """The table of docs/alerts.md, from the last results with the newest programs, in minutes of a real stack."""
    results = json.loads(RESULTS.read_text())
    newest = results[max(results)]
    minute = 60 / newest["haste"]
    rows = [Row(**row) for row in newest["alerts"] if row["fired_s"] is not None]
    lines = ["| Alert | What was done | Fires after | Told after | Messages | End told after | Kept back |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in sorted(rows, key=lambda row: (row.alert, row.drill)):
        fired, told, over = (f"{(time or 0) / minute:.1f} min" for time in (row.fired_s, row.told_s, row.over_s))
        kept = ", ".join(row.kept_back)
        lines.append(f"| {row.alert} | {row.how} | {fired} | {told} | {row.messages} | {over} | {kept} |")
    return "\n".join(lines)


def healthy_day(options: argparse.Namespace) -> int:
    programs = versions()
    print(f"{programs}, a minute is {60 / HASTE:g} s, for {options.healthy:g} minutes", flush=True)
    with tempfile.TemporaryDirectory(prefix="comfyui-exporter-day-") as name:
        day: Day = asyncio.run(healthy(options.keep or Path(name), options.healthy))
    told: dict[str, Any] = asdict(day)
    print(json.dumps(told, indent=1))
    right = not day.problems
    if right and options.healthy >= DAY_MINUTES:
        HEALTHY_RESULTS.write_text(json.dumps({"versions": programs, "haste": HASTE, **told}, indent=1) + "\n")
    print("Nobody was told of trouble." if right else "WRONG, see above.")
    return 0 if right else 1


def main(options: argparse.Namespace) -> int:
    # SIGINT cancels what runs, and all processes that were started end with it.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    if options.table:
        print(markdown())
        return 0
    return healthy_day(options) if options.healthy else drills(options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="drills by name, with commas between")
    parser.add_argument("--at-once", type=int, default=5, help="so many drills at a time")
    parser.add_argument("--texts", action="store_true", help="print what the messages said")
    parser.add_argument("--table", action="store_true", help="print the last results as in docs/alerts.md")
    parser.add_argument("--healthy", type=float, metavar="MINUTES", help="healthy traffic instead of drills")
    parser.add_argument("--keep", type=Path, help="leave logs and data in this folder, which exists")
    sys.exit(main(parser.parse_args()))
