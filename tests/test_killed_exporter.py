"""The exporter is killed again and again, and each job is counted once all the same; `bench/chaos.py` is the long one.

Real processes: the exporter, a Prometheus that scrapes it through all of it, and PostgreSQL where that is the store.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from postgres import Postgres
from survival.stores import PostgresDatabase, Sqlite, Store
from survival.story import Plan, story, told

PLAN = Plan(
    jobs=350,
    kills=8,
    restarts=2,
    clears=1,
    outages=1,
    outage_s=1.5,
    longest_life_s=1.5,
    longest_pause_s=0.5,
    # KILLED_EXPORTER_SEED=2 is another story; KILLED_EXPORTER_JOURNAL=FILE has the whole of one that came out wrong.
    seed=int(os.environ.get("KILLED_EXPORTER_SEED", "1")),
)


async def survive(plan: Plan, store: Store, folder: Path) -> None:
    async with story(plan, store, folder) as life:
        await life.begin()
        await life.live()
        verdict = await life.settle()
        if not verdict.true:
            life.journal.save(os.environ.get("KILLED_EXPORTER_JOURNAL"))
            stories = [line for prompt_id in verdict.offenders[:3] for line in life.journal.around(prompt_id)]
            about = (verdict.table(), told(life.happened, life.exporter.exits))
            pytest.fail("\n".join([*verdict.problems()[:20], *about, *stories]))
        assert (verdict.lost, verdict.double) == (0, 0)
        assert life.happened.kills >= plan.kills
        assert life.happened.restarts == plan.restarts
        assert life.happened.outages == plan.outages
        assert life.jobs >= plan.jobs
        # Most jobs are no exception.
        assert len(verdict.unknowable) + len(verdict.doubtful) + len(verdict.hidden) < len(verdict.runs) / 2


async def test_a_killed_exporter_loses_and_doubles_nothing_on_sqlite(tmp_path: Path) -> None:
    await survive(PLAN, Sqlite(tmp_path), tmp_path)


async def test_a_killed_exporter_loses_and_doubles_nothing_on_postgresql(
    tmp_path: Path, postgres: Postgres, postgres_url: str
) -> None:
    await survive(replace(PLAN, seed=PLAN.seed + 1), PostgresDatabase(postgres, postgres_url), tmp_path)
