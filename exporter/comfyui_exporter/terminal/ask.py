"""`jobs` and `status`: asked once, printed, done."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from comfyui_exporter.terminal.exporter import LARGEST_PAGE, Exporter, Query, typed
from comfyui_exporter.terminal.listing import all_is_well, job_lines, server_lines, stalled_servers
from comfyui_exporter.terminal.messages import Job, Server
from comfyui_exporter.terminal.output import Output

FINE, NOT_WELL, UNREACHABLE = 0, 1, 3
"""Exit codes; 2 is wrong usage."""

_MOST_RUNNING = 10_000


async def show_jobs(exporter: Exporter, query: Query, limit: int, *, as_json: bool) -> int:
    """Print jobs, the newest first; the exit code.

    Raises:
        UnreachableError: the exporter is not there.
        RefusedError: it says no.

    """
    items, cursor = await exporter.jobs(query, limit)
    if as_json:
        print_json({"items": items, "next_cursor": cursor})
        return FINE
    output = Output()
    if not items:
        output.say([(("no such job", "quiet"),)])
        return FINE
    jobs = typed(items, Job)
    titles = await exporter.titles() if any(job.failure for job in jobs) else {}
    output.say(job_lines(jobs, exporter.now(), titles, output.space))
    if cursor is not None:
        output.say([((f"… more than {limit} jobs (--limit)", "quiet"),)])
    return FINE


async def show_status(exporter: Exporter, wanted: Sequence[str], *, as_json: bool) -> int:
    """Print a line for each server; the exit code. `wanted`: these alone.

    Raises:
        UnreachableError: the exporter is not there.
        RefusedError: it says no.

    """
    items = [item for item in await exporter.servers() if not wanted or item.get("server") in wanted]
    servers, jobs = typed(items, Server), await _running(exporter, wanted)
    well = all_is_well(servers, jobs) and {server.server for server in servers} >= set(wanted)
    if as_json:
        stalled = stalled_servers(jobs)
        print_json({"ok": well, "servers": [item | {"stalled": item["server"] in stalled} for item in items]})
        return FINE if well else NOT_WELL
    output = Output()
    if servers:
        output.say(server_lines(servers, jobs, exporter.now(), output.space))
    for name in dict.fromkeys(wanted):
        if name not in {server.server for server in servers}:
            output.say([((f"no server {name} is watched", "bad"),)])
    if not servers and not wanted:
        output.say([(("no server is watched", "bad"),)])
    return FINE if well else NOT_WELL


async def _running(exporter: Exporter, servers: Sequence[str]) -> list[Job]:
    """Give the jobs that run; one that runs for too long has the status of those that are lost, the newest first."""
    on = [("server", server) for server in servers]
    running, _ = await exporter.jobs([("status", "processing"), ("status", "completing"), *on], _MOST_RUNNING)
    late, _ = await exporter.jobs([("status", "timeout"), *on], LARGEST_PAGE)
    return [job for job in typed([*running, *late], Job) if job.running]


def print_json(data: dict[str, Any]) -> None:
    """Print one document. Only ASCII: whatever jobs are called, it cannot disturb a terminal or a locale."""
    print(json.dumps(data, indent=2))  # noqa: T201  this is where output goes
