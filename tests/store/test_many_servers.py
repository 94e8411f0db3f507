"""Many servers are read together, and each is given what is its own."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.dialects import sqlite

from comfyui_exporter.config.servers import ServerConfig
from comfyui_exporter.fleet import FEW
from comfyui_exporter.store import of_servers, restore
from comfyui_exporter.store.batch import Batch
from comfyui_exporter.store.marks import entry_row
from comfyui_exporter.store.schema import ENTRIES, TOTALS
from comfyui_exporter.tracker.runs import ENDS, State
from store.exporter import Exporter, entry, item

NAMES = tuple(f"gpu{number}" for number in range(9))


async def busy(exporters, url, names=NAMES):
    """An exporter each of whose servers did something else."""
    exporter = await exporters(url, servers=names)
    for number, name in enumerate(names):
        exporter.look(entry("old", 0, 500), server=name)
        jobs = [entry(f"j{n}", n, 1_000 * n, outcome="failed" if n % 3 else "completed") for n in range(1, number + 2)]
        for job in jobs:
            exporter.time.unix += 1
            exporter.ends(job, server=name)
        exporter.queue(item("lost", 50), pending=[item(f"open{number}", 60)], server=name)
        exporter.queue(pending=[item(f"open{number}", 60)], server=name)
        exporter.misses("lost", server=name)
    await exporter.commit()
    return exporter


async def read(exporter, servers):
    unix = exporter.time.unix
    return {name: known async for name, known in exporter.monitor.keeper.restore.servers(servers, unix, 3_000.0, 100)}


@pytest.mark.parametrize(("few", "group"), [(100, 2), (2, 4)])
async def test_what_is_read_of_many_together_is_what_is_read_of_each_alone(url, exporters, monkeypatch, few, group):
    exporter = await busy(exporters, url)
    alone = {name: (await read(exporter, [name]))[name] for name in NAMES}
    monkeypatch.setattr(restore, "_FEW", few)
    monkeypatch.setattr(restore, "_TOGETHER", group)
    together = await read(exporter, [*NAMES, "never watched"])
    assert together.pop("never watched") == restore.Restored()
    assert together == alone
    for number, name in enumerate(NAMES):
        memory = together[name].memory
        assert [identity[0] for identity in memory.known] == ["old", *(f"j{n}" for n in range(1, number + 2))]
        assert [run.prompt_id for run in memory.open_runs] == [f"open{number}"]
        assert [run.prompt_id for run in memory.finished_runs] == [*(f"j{n}" for n in range(1, number + 2)), "lost"]
        assert memory.vanished == {("lost", 50.0): 1}
        failed = [f"j{n}" for n in range(number + 1, 0, -1) if n % 3]
        assert [run.prompt_id for run in together[name].failed_runs] == failed
        assert together[name].lessons == (number + 1) // 3


async def test_entries_that_do_not_lie_in_the_order_of_their_sight_are_known_in_it(url, exporters, monkeypatch):
    monkeypatch.setattr(restore, "_FEW", 0)
    exporter = await busy(exporters, url, ("gpu0", "gpu1"))
    database = exporter.database
    for seq, name in ((900, "late"), (800, "early")):
        identity = (name, 1.0, seq)
        await database.write(Batch(entries={("gpu1", identity): entry_row("gpu1", identity, seq, ground=True)}))
    known = await read(exporter, ["gpu0", "gpu1"])
    assert [identity[0] for identity in known["gpu1"].memory.known] == ["old", "j1", "j2", "early", "late"]


@pytest.mark.parametrize("few", [0, 100])
async def test_of_more_entries_than_any_history_has_the_newest_are_known(url, exporters, monkeypatch, few):
    monkeypatch.setattr(restore, "_FEW", few)
    monkeypatch.setattr(restore, "MAX_KNOWN", 4)
    exporter = await busy(exporters, url)
    known = {
        name: [identity[0] for identity in one.memory.known] for name, one in (await read(exporter, NAMES)).items()
    }
    assert known["gpu2"] == ["old", "j1", "j2", "j3"]
    assert known["gpu8"] == ["j6", "j7", "j8", "j9"]


async def test_lessons_are_the_newest_completed_jobs_of_each_server_in_the_order_of_their_ends(
    url, exporters, monkeypatch
):
    monkeypatch.setattr(restore, "LESSONS", 2)
    exporter = await exporters(url, servers=("gpu0", "gpu1"))
    for name in ("gpu0", "gpu1"):
        exporter.look(server=name)
    # Jobs that ended while nobody watched are all seen to end at one moment.
    exporter.ends(*(entry(f"j{n}", n, 1_000 * n) for n in range(1, 6)), server="gpu0")
    exporter.ends(entry("only", 1, 1_000), entry("failed", 2, 2_000, outcome="failed"), server="gpu1")
    await exporter.commit()
    lessons = await exporter.monitor.keeper.restore.lessons(["gpu0", "gpu1"])
    found = {server: [run.prompt_id for run in runs] for server, runs in lessons.items()}
    assert found == {"gpu0": ["j4", "j5"], "gpu1": ["only"]}


STATEMENTS = {
    "newest": lambda: of_servers.newest_of(["a", "b"], ENDS, 10, 5.0),
    "lessons": lambda: of_servers.newest_of(["a", "b"], (State.COMPLETED,), 300),
    "open": lambda: of_servers.open_of(["a", "b"]),
    "vanished": lambda: of_servers.vanished_of(["a", "b"]),
    "entries": lambda: of_servers.entries_of(["a", "b"]),
    "completed": lambda: of_servers.completed_of(["a", "b"], 300),
    "totals": lambda: of_servers.totals_of(["a", "b"]),
}


@pytest.mark.parametrize("name", STATEMENTS)
async def test_no_row_of_another_server_is_looked_at(tmp_path, name):
    exporter = await Exporter(f"sqlite:///{tmp_path / 'jobs.db'}").open()
    literal = {"literal_binds": True}
    statement = str(STATEMENTS[name]().compile(dialect=sqlite.dialect(), compile_kwargs=literal))
    steps = [row["detail"] for row in await exporter.database.rows(text(f"EXPLAIN QUERY PLAN {statement}"))]
    await exporter.close()
    looks = [step for step in steps if step.startswith(("SCAN", "SEARCH"))]
    assert looks
    assert not [step for step in looks if "(server=?" not in step and "anon" not in step], steps


# Servers that come


def with_servers(exporter, *names):
    servers = tuple(ServerConfig(name=name, url="http://127.0.0.1:1") for name in names)
    return exporter.monitor._config.model_copy(update={"servers": servers})


async def test_a_server_whose_totals_make_no_sense_keeps_no_other_from_being_watched(url, exporters):
    exporter = await busy(exporters, url)
    await exporter.database.run(update(TOTALS).where(TOTALS.c.server == "gpu3").values(labels="nonsense"))
    await exporter.crash()
    again = await exporters(url, servers=("gpu0",))
    undone = await again.monitor.reconfigure(with_servers(again, *NAMES))
    assert [line.split(" ")[0] for line in undone] == ["gpu3"]
    assert set(again.monitor.servers) == set(NAMES) - {"gpu3"}
    assert again.total("comfyui_jobs_total", server="gpu8") == 10
    assert again.total("comfyui_jobs_total", server="gpu3") is None
    await again.close()


async def test_ended_jobs_of_a_batch_come_back_on_each_of_its_servers(url, exporters):
    exporter = await exporters(url, servers=NAMES[:3], keep_finished=0.0)
    for number, name in enumerate(NAMES[:3]):
        exporter.look(server=name)
        exporter.ends(entry(f"done{number}", 1, 1_000, batch_id="night"), server=name)
        exporter.queue(item(f"open{number}", 2, batch_id="night"), server=name)
    await exporter.commit()
    await exporter.crash()
    again = await exporter.next(url, keep_finished=0.0)
    assert again.board.batch("night").total == 6
    shown = {name: counts for name in NAMES[:3] for _, counts in again.board.batches_on(name)}
    assert {name: sum(counts.values()) for name, counts in shown.items()} == dict.fromkeys(NAMES[:3], 2)
    await again.close()


async def test_of_many_servers_jobs_are_learned_from_after_they_are_watched(url, exporters):
    names = tuple(f"gpu{number}" for number in range(FEW + 1))
    exporter = await busy(exporters, url, names)
    await exporter.crash()
    again = await exporter.next(url)
    monitor = again.monitor
    predictor = monitor._fleet.predictor_of("gpu8")
    assert (predictor.lessons, predictor._own.lessons) == (3, 0)
    await monitor._teaching._teach_all()
    assert predictor._own.lessons == 3
    assert not monitor.is_learning
    await again.close()
    few = await Exporter(url, names[:FEW], time=again.time).open()
    assert not few.monitor.is_learning
    assert few.fleet.predictor_of("gpu8")._own.lessons == 3
    await few.close()


async def test_a_server_that_is_gone_leaves_its_rows_and_takes_nothing_of_others(url, exporters):
    exporter = await busy(exporters, url)
    shown = {update.comfyui_prompt_id for update in exporter.board.jobs if update.server != "gpu8"}
    await exporter.monitor.reconfigure(with_servers(exporter, *NAMES[:-1]))
    assert {update.server for update in exporter.board.jobs} == set(NAMES[:-1])
    assert {update.comfyui_prompt_id for update in exporter.board.jobs} == shown
    assert exporter.total("comfyui_jobs_total", server="gpu8") is None
    rows = await exporter.database.rows(select(ENTRIES).where(ENTRIES.c.server == "gpu8"))
    assert len(rows) == 10
    await exporter.close()
