"""Another configuration while running: who comes, goes and changes, and who must not notice."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

import pytest

from comfyui_exporter import reload
from comfyui_exporter.config.settings import resolve_settings
from comfyui_exporter.metrics import families
from comfyui_exporter.monitor import Monitor
from comfyui_exporter.reload import Reloader
from comfyui_exporter.simulator import Simulation
from comfyui_exporter.simulator.workflows import image
from comfyui_exporter.store.errors import StoreAwayError

PATIENCE = 30.0
"""Seconds within which anything happens, on a slow machine too."""

NOWHERE = "http://127.0.0.1:1"


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


def servers(**urls):
    return [{"name": name, "url": url} for name, url in urls.items()]


class Said:
    """What a monitor was told to watch, in place of one."""

    def __init__(self):
        self.configs = []
        self.undone = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.at_work = 0

    async def __call__(self, config):
        self.at_work += 1
        assert self.at_work == 1
        await self.go_on.wait()
        self.configs.append(config)
        self.at_work -= 1
        undone = self.undone.pop(0) if self.undone else ()
        if isinstance(undone, Exception):
            raise undone
        return undone

    @property
    def names(self):
        return [server.name for server in self.configs[-1].servers]


class Files:
    """A configuration file and a server file."""

    def __init__(self, folder):
        self._folder = folder
        self.config(server_files=["*.json"])

    def config(self, text=None, **keys):
        (self._folder / "comfyui.yml").write_text(text or json.dumps({"poll_interval": "100ms", **keys}))

    def servers(self, *names, text=None):
        groups = [{"targets": ["127.0.0.1:1"], "labels": {"server": name}} for name in names]
        (self._folder / "new").write_text(text or json.dumps(groups))
        (self._folder / "new").rename(self._folder / "servers.json")

    def reloader(self, store="memory", **flags):
        given = {"config.file": [str(self._folder / "comfyui.yml")], "store.url": [store], **flags}
        return Reloader(resolve_settings(given, {}))


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


@pytest.fixture(autouse=True)
def in_haste(monkeypatch):
    monkeypatch.setattr(reload, "LOOK_EVERY", 0.02)


@pytest.fixture
def errors(caplog):
    """What was logged as an error."""
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@asynccontextmanager
async def told(reloader):
    """What stands in for a monitor, once the reloader has begun."""
    said = Said()
    said.reloader = reloader
    said.configs.append(await reloader.config())
    said.metrics = Monitor(said.configs[0]).metrics
    reloader.start(said, said.metrics)
    try:
        yield said
    finally:
        await reloader.close()


def is_well(said):
    return said.metrics.get(families.CONFIG_RELOAD_SUCCESSFUL, None)


# What is to be watched


async def test_server_files_are_followed_without_being_asked(files):
    files.servers("a")
    async with told(files.reloader()) as said:
        assert said.names == ["a"]
        files.servers("a", "b")
        await until(lambda: said.names == ["a", "b"])
        files.servers("b")
        await until(lambda: said.names == ["b"])
        assert len(said.configs) == 3
        assert is_well(said) == 1


async def test_a_bad_server_file_keeps_its_servers_and_is_reported_until_it_is_good(files, errors):
    files.servers("a")
    async with told(files.reloader()) as said:
        files.servers(text="[")
        await until(lambda: is_well(said) == 0)
        (problem,) = await said.reloader.reload()
        assert problem.endswith("servers.json: line 1: is not valid JSON")
        assert errors() == [f"a server file is not used as it is: {problem}"]
        assert said.names == ["a"]
        files.servers("b")
        await until(lambda: said.names == ["b"])
        assert is_well(said) == 1


async def test_a_bad_server_file_at_the_start_is_reported_and_keeps_nothing_from_being_watched(files):
    files.config(server_files=["*.json"], servers=servers(own=NOWHERE))
    files.servers(text="{}")
    async with told(files.reloader()) as said:
        assert said.names == ["own"]
        assert is_well(said) == 0


async def test_a_bad_configuration_changes_nothing_and_is_reported(files, errors):
    files.config(servers=servers(a=NOWHERE))
    async with told(files.reloader()) as said:
        files.config("servers: [{url: gpu0}]\nshard: 7\n")
        problems = await said.reloader.reload()
        assert len(problems) == 2
        assert "servers[0].url" in problems[0]
        assert errors() == [f"reloading failed, everything stays as it was: {problem}" for problem in problems]
        assert len(said.configs) == 1
        assert is_well(said) == 0
        files.config(servers=servers(b=NOWHERE))
        assert await said.reloader.reload() == ()
        assert said.names == ["b"]
        assert is_well(said) == 1


async def test_a_server_file_that_heals_does_not_hide_that_the_configuration_is_bad(files):
    files.servers("a")
    async with told(files.reloader()) as said:
        files.config("nothing: of this\n")
        assert await said.reloader.reload()
        files.servers("b")
        await until(lambda: said.names == ["b"])
        assert is_well(said) == 0


async def test_what_else_is_read_anew_can_refuse_too(files):
    files.config(servers=servers(a=NOWHERE))
    reloader = files.reloader()

    async def bad():
        message = "web.yml: no key"
        raise ValueError(message)

    reloader.also.append(bad)
    async with told(reloader) as said:
        files.config(servers=servers(b=NOWHERE))
        assert await reloader.reload() == ("web.yml: no key",)
        assert said.names == ["a"]


async def test_the_default_server_is_watched_as_long_as_none_is_named(files):
    files.config()
    async with told(files.reloader()) as said:
        assert said.names == ["127.0.0.1:8188"]
        files.config(servers=servers(a=NOWHERE))
        await said.reloader.reload()
        assert said.names == ["a"]
        files.config()
        await said.reloader.reload()
        assert said.names == ["127.0.0.1:8188"]
        files.config(server_files=["*.json"])  # of which there is none, and that is no servers
        await said.reloader.reload()
        assert said.names == []


async def test_flags_go_on_to_hold_over_a_reload(files):
    files.config(servers=servers(a=NOWHERE))
    async with told(files.reloader(**{"comfyui.url": [f"flag={NOWHERE}"]})) as said:
        files.config(servers=servers(b=NOWHERE))
        await said.reloader.reload()
        assert said.names == ["b", "flag"]


async def test_of_two_servers_with_one_name_the_first_counts_and_the_other_is_reported(files):
    files.config(server_files=["*.json"], servers=servers(a="http://127.0.0.1:2"))
    files.servers("a", "b")
    async with told(files.reloader()) as said:
        assert {server.name: server.url for server in said.configs[-1].servers} == {
            "a": "http://127.0.0.1:2",
            "b": "http://127.0.0.1:1",
        }
        (problem,) = await said.reloader.reload()
        assert 'server name "a" is taken' in problem


async def test_replicas_share_the_servers_of_all_origins(files):
    names = [f"gpu{number}" for number in range(20)]
    files.config(server_files=["*.json"], servers=servers(own=NOWHERE))
    files.servers(*names)
    shares = []
    for index in range(3):
        async with told(files.reloader(shard=[f"{index}/3"])) as said:
            shares.append(said.names)
    assert sorted(name for share in shares for name in share) == sorted(["own", *names])
    assert all(shares)


async def test_two_names_for_one_server_are_warned_of_once(files, caplog):
    files.config(server_files=["*.json"])
    files.servers("a")
    async with told(files.reloader()) as said:
        files.servers("a", "b")
        await until(lambda: said.names == ["a", "b"])
        await said.reloader.reload()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [warning.split(" have")[0] for warning in warnings] == ['servers "a" and "b"']


# In which order


async def test_reloads_wait_for_each_other_and_the_newest_file_holds(files):
    files.config(servers=servers(a=NOWHERE))
    async with told(files.reloader()) as said:
        said.go_on.clear()
        files.config(servers=servers(b=NOWHERE))
        first = asyncio.create_task(said.reloader.reload())
        await until(lambda: said.at_work)
        files.config(servers=servers(c=NOWHERE))
        others = [asyncio.create_task(said.reloader.reload()) for _ in range(3)]
        said.go_on.set()
        assert await asyncio.gather(first, *others) == [()] * 4
        assert said.names == ["c"]


async def test_server_files_that_change_while_a_reload_runs_are_followed_after_it(files):
    files.servers("a")
    async with told(files.reloader()) as said:
        said.go_on.clear()
        running = asyncio.create_task(said.reloader.reload())
        await until(lambda: said.at_work)
        files.servers("b")
        said.go_on.set()
        await running
        await until(lambda: said.names == ["b"])


async def test_a_reload_goes_on_when_whoever_asked_for_it_went_away(files):
    files.config(servers=servers(a=NOWHERE))
    async with told(files.reloader()) as said:
        said.go_on.clear()
        files.config(servers=servers(b=NOWHERE))
        asking = asyncio.create_task(said.reloader.reload())
        await until(lambda: said.at_work)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        said.go_on.set()
        await until(lambda: said.names == ["b"])


async def test_a_reload_that_is_asked_for_during_the_start_is_done_after_it(files):
    files.config(servers=servers(a=NOWHERE))
    reloader = files.reloader()
    reloader.reload_soon()
    await asyncio.sleep(0)
    async with told(reloader) as said:
        await until(lambda: len(said.configs) == 2)


async def test_what_cannot_be_done_is_reported_and_tried_again(files, errors):
    files.config(servers=servers(a=NOWHERE))
    async with told(files.reloader()) as said:
        said.undone = [("b is not watched",), RuntimeError("a defect"), ("b is not watched",), ("b is not watched",)]
        files.config(servers=servers(b=NOWHERE))
        assert await said.reloader.reload() == ("b is not watched",)
        assert is_well(said) == 0
        await until(lambda: is_well(said) == 1)
        assert len(said.configs) == 6
        assert errors() == [
            "could not be done, and is tried again: b is not watched",
            "unexpected error",
            "could not be done, and is tried again: unexpected error, see the log",
            "could not be done, and is tried again: b is not watched",
        ]


async def test_what_takes_effect_at_the_next_start_is_said_as_long_as_it_differs(files, caplog):
    files.config(servers=servers(a=NOWHERE))
    async with told(files.reloader()) as said:
        files.config(servers=servers(a=NOWHERE), job_labels=["project"], limits={"job_series": 3})
        await said.reloader.reload()
        files.config(servers=servers(b=NOWHERE), job_labels=["project"])
        await said.reloader.reload()
        files.config(servers=servers(b=NOWHERE))
        await said.reloader.reload()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    changed = "has changed, which takes effect at the next start"
    assert warnings == [f"job_labels {changed}", f"limits {changed}", f"job_labels {changed}"]


# With servers that answer


@asynccontextmanager
async def exporting(files, store="memory"):
    reloader = files.reloader(store)
    monitor = Monitor(await reloader.config(), rng=Random(1))
    await monitor.open()
    monitor.start()
    reloader.start(monitor.reconfigure, monitor.metrics)
    try:
        await asyncio.wait_for(monitor.first_look(), PATIENCE)
        yield monitor, reloader.reload
    finally:
        await reloader.close()
        await monitor.stop()


@asynccontextmanager
async def simulated(count, speed=200):
    async with AsyncExitStack() as stack:
        made = [Simulation(speed=speed, failure_rate=0, seed=number) for number in range(count)]
        yield [await stack.enter_async_context(simulation) for simulation in made]


def submit(simulation, prompt_id):
    graph = image(Random(len(simulation.ledger.runs))).graph
    assert simulation.comfy.submit({"prompt": graph, "prompt_id": prompt_id})[0] == 200


def shown(monitor, server):
    """What a scrape shows of a server."""
    text = b"".join(monitor.metrics.render(openmetrics=False)).decode()
    return [line for line in text.splitlines() if f'server="{server}"' in line]


def counted(monitor, server, family="comfyui_jobs_total", **labels):
    wanted = [f'{name}="{value}"' for name, value in labels.items()]
    lines = [line for line in shown(monitor, server) if line.startswith(family + "{")]
    return sum(float(line.split()[-1]) for line in lines if all(label in line for label in wanted))


def connections(simulation):
    """Every connection that is open to a server: those of its polls, and of its events."""
    return {id(connection) for connection in simulation._server._runner.server.connections}


def completed(monitor, server):
    return counted(monitor, server, status="completed")


async def test_servers_come_go_and_change_and_the_others_keep_their_connections(files):
    async with simulated(4) as (a, b, c, d):
        files.config(servers=servers(a=a.url, b=b.url))
        async with exporting(files) as (monitor, reload_now):
            await until(lambda: len(connections(a)) == 2)
            of_a, watch_of_a = connections(a), monitor._fleet.watched["a"].watch
            submit(a, "1")
            files.config(servers=servers(a=a.url, c=c.url))
            assert await reload_now() == ()
            assert sorted(monitor.servers) == ["a", "c"]
            assert shown(monitor, "b") == []
            assert shown(monitor, "c")
            assert monitor.metrics.get(families.SERVERS, None) == 2
            await until(lambda: not connections(b))
            await until(lambda: len(connections(c)) == 2)

            files.config(servers=[{"name": "a", "url": a.url}, {"name": "c", "url": d.url, "job_timeout": "1h"}])
            assert await reload_now() == ()
            await until(lambda: not connections(c) and len(connections(d)) == 2)
            await until(lambda: completed(monitor, "a") == 1)
            assert connections(a) == of_a
            assert monitor._fleet.watched["a"].watch is watch_of_a
            assert not b.ledger.runs


@pytest.mark.parametrize("kept", [False, True])
async def test_jobs_in_flight_are_counted_once_however_often_the_way_of_watching_changes(files, tmp_path, kept):
    store = f"sqlite:///{tmp_path / 'jobs.db'}" if kept else "memory"
    jobs = 12
    async with simulated(1, speed=60) as (simulation,):
        files.config(servers=servers(a=simulation.url))
        async with exporting(files, store) as (monitor, reload_now):
            for number in range(jobs):
                submit(simulation, f"{number}")
            changes = 0
            while simulation.comfy.queue_remaining:
                changes += 1
                job_types = [{"job_type": f"kind{changes}", "node_types": ["KSampler"]}]
                files.config(servers=servers(a=simulation.url), poll_interval=f"{100 + changes}ms", job_types=job_types)
                assert await reload_now() == ()
            assert changes > 1
            await until(lambda: completed(monitor, "a") == jobs)
            assert counted(monitor, "a", "comfyui_jobs_submitted_total") == jobs
            assert counted(monitor, "a") == jobs
            assert not list(monitor._fleet.watched["a"].tracker.open_runs)


async def test_a_job_keeps_its_identity_when_its_server_is_watched_otherwise(files):
    async with simulated(1, speed=30) as (simulation,):
        files.config(servers=servers(a=simulation.url))
        async with exporting(files) as (monitor, reload_now):
            submit(simulation, "p")
            await until(lambda: monitor.board.find(prompt_id="p") is not None)
            before = monitor.board.find(prompt_id="p")
            files.config(servers=servers(a=simulation.url), poll_interval="200ms")
            await reload_now()
            monitor.register(job_id=7, prompt_id="p")
            await until(lambda: monitor.board.find(prompt_id="p").terminal)
            after = monitor.board.find(prompt_id="p")
            assert (after.run_id, after.job_id) == (before.run_id, 7)


async def test_a_server_that_comes_back_counts_on_from_what_was_kept(files, tmp_path):
    async with simulated(2) as (a, b):
        both = servers(a=a.url, b=b.url)
        files.config(servers=both)
        async with exporting(files, f"sqlite:///{tmp_path / 'jobs.db'}") as (monitor, reload_now):
            submit(a, "1")
            await until(lambda: completed(monitor, "a") == 1)
            files.config(servers=servers(b=b.url))
            assert await reload_now() == ()
            assert shown(monitor, "a") == []
            assert monitor.board.find(prompt_id="1") is None
            submit(a, "2")
            await until(lambda: not a.comfy.queue_remaining)
            files.config(servers=both)
            assert await reload_now() == ()
            assert completed(monitor, "a") == 1
            await until(lambda: completed(monitor, "a") == 2)
            assert (await monitor.history.find(prompt_id="1")).terminal


async def test_what_was_counted_while_the_store_was_away_is_not_lost_with_a_server_that_goes(files, tmp_path):
    away = asyncio.Event()

    async with simulated(2) as (a, b):
        both = servers(a=a.url, b=b.url)
        files.config(servers=both)
        async with exporting(files, f"sqlite:///{tmp_path / 'jobs.db'}") as (monitor, reload_now):
            plain = monitor.keeper.database.write

            async def write(batch, **options):
                if away.is_set():
                    raise StoreAwayError("away")
                return await plain(batch, **options)

            monitor.keeper.database.write = write
            submit(a, "1")
            await until(lambda: completed(monitor, "a") == 1)
            away.set()
            submit(a, "2")
            await until(lambda: (found := monitor.board.find(prompt_id="2")) is not None and found.terminal)
            files.config(servers=servers(b=b.url))
            assert await reload_now() == ()  # nothing to wait for
            assert shown(monitor, "a") == []
            files.config(servers=both)
            (said,) = await reload_now()
            assert said.startswith("a is not watched, as what is kept of it cannot be read: the store does not take")
            assert (shown(monitor, "a"), list(monitor.servers)) == ([], ["b"])
            assert monitor.metrics.get(families.CONFIG_RELOAD_SUCCESSFUL, None) == 0
            away.clear()
            await until(lambda: completed(monitor, "a") == 2)
            await until(lambda: monitor.metrics.get(families.CONFIG_RELOAD_SUCCESSFUL, None) == 1)
            assert counted(monitor, "a", "comfyui_jobs_submitted_total") == 2


async def test_other_job_labels_break_no_counting_before_the_next_start(files):
    async with simulated(2) as (a, b):
        files.config(servers=servers(a=a.url))
        async with exporting(files) as (monitor, reload_now):
            files.config(servers=servers(a=a.url, b=b.url), job_labels=["project"])
            assert await reload_now() == ()
            for name, simulation in (("a", a), ("b", b)):
                await until(lambda name=name: monitor._fleet.watched[name].watch.tried.is_set())
                submit(simulation, "p")
                await until(lambda name=name: completed(monitor, name) == 1)
            assert not any(monitor.metrics.get(families.SINK_ERRORS, None, (sink,)) for sink in ("metrics", "board"))


async def test_a_server_that_hangs_is_removed_all_the_same(files):
    async with simulated(2) as (a, b):
        files.config(servers=servers(a=a.url, b=b.url))
        async with exporting(files) as (monitor, reload_now):
            b.faults.add("*", "hang")
            files.config(servers=servers(a=a.url))
            assert await asyncio.wait_for(reload_now(), 10) == ()
            assert shown(monitor, "b") == []


async def test_a_new_failure_pattern_and_job_type_stand_at_0_on_every_server(files):
    async with simulated(1) as (a,):
        files.config(servers=servers(a=a.url))
        async with exporting(files) as (monitor, reload_now):
            files.config(
                servers=servers(a=a.url),
                failure_patterns=[{"pattern": "of_ours", "title": "Ours", "regex": "ours"}],
                job_types=[{"job_type": "tiny", "node_types": ["X"]}],
            )
            assert await reload_now() == ()
            lines = shown(monitor, "a")
            failures = 'comfyui_job_failures_total{server="a",job_type="tiny",pattern="of_ours"} 0'
            assert failures in lines
