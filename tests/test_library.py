"""The package as a library: a program watches one ComfyUI with a StatusMonitor."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from contextlib import aclosing
from pathlib import Path
from random import Random

import aiohttp
import prometheus_client
import pytest

from comfyui_exporter import (
    ComfyUIClient,
    ComfyUIConnector,
    ProgressStatus,
    ProgressUpdate,
    StatusMonitor,
    create_status_monitor,
)
from comfyui_exporter.simulator import Simulation
from comfyui_exporter.simulator.workflows import video
from comfyui_exporter.store.errors import StoreRefusedError

PATIENCE = 30.0
"""Seconds within which anything happens, on a slow machine too."""

DEAD = "http://127.0.0.1:1"


async def until(condition):
    """Wait for something to be true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


def submit(simulation, prompt_id, fails=None, seed=0):
    if fails is not None:
        simulation.executor.accidents[prompt_id] = fails
    graph = video(Random(seed)).graph
    graph["7"]["inputs"]["seed"] = len(simulation.ledger.runs)  # or all of it would come from the cache
    status, _ = simulation.comfy.submit({"prompt": graph, "prompt_id": prompt_id})
    assert status == 200


class Looked(StatusMonitor):
    """Starts and looks: what ended before the first look is not told of."""

    async def start_monitoring(self):
        await super().start_monitoring()
        await until(lambda: self._monitor.ready)


class Closing:
    """Closes clients that a test gave to monitors."""

    def __init__(self):
        self.clients = []

    def client(self, url):
        self.clients.append(ComfyUIClient(url))
        return self.clients[-1]


@pytest.fixture
async def made():
    """Makes monitors, and stops what a test left running."""
    monitors, closing = [], Closing()

    def make(url=DEAD, database=None, port=None, **fields):
        monitors.append(Looked(closing.client(url), database, 0.1, port, **fields))
        return monitors[-1]

    yield make
    for monitor in monitors:
        await monitor.stop_monitoring()
    for client in closing.clients:
        await client.close()


@pytest.fixture
async def simulation():
    async with Simulation(speed=200) as simulation:
        yield simulation


class Heard:
    """A callback that keeps what it was told."""

    def __init__(self):
        self.updates = []

    def __call__(self, update):
        self.updates.append(update)

    def statuses(self, prompt_id):
        told = [str(one.status) for one in self.updates if one.comfyui_prompt_id == prompt_id]
        return [status for place, status in enumerate(told) if place == 0 or told[place - 1] != status]

    def ended(self, prompt_id):
        return any(one.terminal for one in self.updates if one.comfyui_prompt_id == prompt_id)


class Database:
    def __init__(self):
        self.written = []

    async def update_job(self, update):
        self.written.append((asyncio.get_running_loop().time(), update))


# Binding jobs


async def test_a_job_that_was_monitored_before_start_is_followed_from_initializing_to_completed(made, simulation):
    monitor, heard = made(simulation.url), Heard()
    monitor.add_progress_callback(heard)
    assert monitor.monitor_job(123, "p", "video", "b")
    assert (await monitor.get_progress("123")).status is ProgressStatus.INITIALIZING
    await monitor.start_monitoring()
    await until(lambda: heard.updates)
    submit(simulation, "p")
    await until(lambda: heard.ended("p"))
    statuses = heard.statuses("p")
    assert (statuses[0], statuses[-1]) == ("initializing", "completed")
    last = heard.updates[-1]
    assert isinstance(last, ProgressUpdate)
    assert (last.job_id, last.job_type, last.batch_id, last.progress_percent) == (123, "video", "b", 100.0)
    assert last.generation_time > 0
    assert len({one.run_id for one in heard.updates}) == 1
    percents = [one.progress_percent for one in heard.updates]
    assert percents == sorted(percents)


async def test_a_job_id_stays_with_its_prompt_and_a_number_is_its_text(made):
    monitor = made()
    assert monitor.monitor_job(123, "p")
    assert monitor.monitor_job("123", "p")
    assert not monitor.monitor_job("123", "other")
    assert not monitor.monitor_job(123, "other")
    assert (await monitor.get_progress(123)).comfyui_prompt_id == "p"
    assert await monitor.get_progress("123") == await monitor.get_progress(123)
    assert await monitor.get_progress(4) is None


async def test_a_job_that_already_runs_is_taken_up(made, simulation):
    monitor, heard = made(simulation.url, all_jobs=True), Heard()
    monitor.add_progress_callback(heard)
    await monitor.start_monitoring()
    submit(simulation, "p")
    await until(lambda: heard.updates)
    assert heard.updates[0].job_id is None
    monitor.monitor_job(7, "p", "film")
    progress = await monitor.get_progress(7)
    assert (progress.run_id, progress.job_type) == (heard.updates[0].run_id, "film")


# Who is told


@pytest.mark.parametrize("extra", [{}, {"job_id": 7, "job_type": "video"}], ids=["untagged", "tagged"])
@pytest.mark.parametrize("all_jobs", [False, True])
async def test_a_job_that_is_monitored_after_its_end_is_told_once(made, simulation, extra, all_jobs):
    heard, database = Heard(), Database()
    monitor = made(simulation.url, database=database, all_jobs=all_jobs)
    monitor.add_progress_callback(heard)
    await monitor.start_monitoring()
    graph = video(Random(0)).graph
    simulation.comfy.submit({"prompt": graph, "prompt_id": "p", "extra_data": extra})
    await until(lambda: (found := monitor._monitor.board.find(prompt_id="p")) is not None and found.terminal)
    monitor.monitor_job(7, "p", "video")
    await until(lambda: any(update.job_id == 7 for update in heard.updates))
    await until(lambda: any(update.job_id == 7 for _, update in database.written))
    monitor.monitor_job(7, "p", "video")
    await monitor.stop_monitoring()
    ends = [update for update in heard.updates if update.terminal and update.job_id == 7]
    assert [update.status for update in ends] == ["completed"]


async def test_only_monitored_jobs_are_told_unless_all_are_asked_for(made, simulation):
    some, every = made(simulation.url), made(simulation.url, all_jobs=True)
    heard, all_heard = Heard(), Heard()
    some.add_progress_callback(heard)
    every.add_progress_callback(all_heard)
    await some.start_monitoring()
    await every.start_monitoring()
    some.monitor_job(1, "mine")
    submit(simulation, "other")
    submit(simulation, "mine")
    await until(lambda: heard.ended("mine") and all_heard.ended("mine") and all_heard.ended("other"))
    assert {one.comfyui_prompt_id for one in heard.updates} == {"mine"}
    assert {one.comfyui_prompt_id for one in all_heard.updates} == {"mine", "other"}


async def test_a_callback_or_database_that_raises_is_counted_and_stops_nothing(made, simulation, caplog):
    class Broken:
        async def update_job(self, update):
            raise OSError

    def broken(update):
        raise RuntimeError

    heard, awaited = Heard(), []

    async def asynchronous(update):
        await asyncio.sleep(0)
        awaited.append(update)

    monitor = made(simulation.url, Broken())
    for callback in (broken, heard, asynchronous):
        monitor.add_progress_callback(callback)
    async with monitor:
        monitor.monitor_job(1, "p")
        submit(simulation, "p")
        await until(lambda: heard.ended("p") and awaited and awaited[-1].terminal)
    value = monitor.registry.get_sample_value
    for sink in ("callback", "database"):
        assert value("comfyui_exporter_sink_errors_total", {"sink": sink}) >= 2
    assert "a progress callback failed" in caplog.text
    assert "the database did not take an update" in caplog.text


async def test_a_callback_that_was_removed_hears_nothing_more(made, simulation):
    monitor, gone, heard = made(simulation.url), Heard(), Heard()
    monitor.add_progress_callback(gone)
    monitor.add_progress_callback(heard)
    monitor.remove_progress_callback(gone)
    monitor.remove_progress_callback(print)
    await monitor.start_monitoring()
    monitor.monitor_job(1, "p")
    await until(lambda: heard.updates)
    assert gone.updates == []


async def test_iteration_over_updates_ends_when_monitoring_stops(made, simulation):
    monitor, seen = made(simulation.url), []

    async def iterate():
        async for update in monitor.updates():
            seen.append(update)  # noqa: PERF401 - looked at while it goes on

    await monitor.start_monitoring()
    reading = asyncio.create_task(iterate())
    await asyncio.sleep(0)
    monitor.monitor_job(1, "p")
    submit(simulation, "p")
    await until(lambda: seen and seen[-1].terminal)
    await monitor.stop_monitoring()
    await asyncio.wait_for(reading, PATIENCE)
    assert seen[-1].status is ProgressStatus.COMPLETED


async def test_a_callback_may_stop_the_monitor(made):
    monitor, done = made(), asyncio.Event()

    async def stop(update):
        await monitor.stop_monitoring()
        done.set()

    monitor.add_progress_callback(stop)
    await monitor.start_monitoring()
    began = asyncio.get_running_loop().time()
    monitor.monitor_job(1, "p")
    await asyncio.wait_for(done.wait(), PATIENCE)
    assert asyncio.get_running_loop().time() - began < 4


async def test_the_database_gets_every_status_and_progress_once_a_second_at_most(made, simulation):
    simulation.executor.speed = 15
    database, heard = Database(), Heard()
    monitor = made(simulation.url, database)
    monitor.add_progress_callback(heard)
    async with monitor:
        monitor.monitor_job(1, "p")
        submit(simulation, "p")
        await until(lambda: heard.ended("p"))
    written = Heard()
    for _, update in database.written:
        written(update)
    assert written.statuses("p") == heard.statuses("p")
    for (at, before), (after, update) in zip(database.written, database.written[1:], strict=False):
        assert update.status is not before.status or after - at >= 1.0
    assert len(database.written) < len(heard.updates)


# Questions


async def test_an_estimate_is_timezone_aware_and_the_end_once_it_is_over(made, simulation):
    monitor, heard = made(simulation.url, all_jobs=True), Heard()
    monitor.add_progress_callback(heard)
    await monitor.start_monitoring()
    for number in range(4):
        submit(simulation, f"before{number}")
        await until(lambda number=number: heard.ended(f"before{number}"))
    simulation.executor.speed = 2
    monitor.monitor_job(1, "p")
    assert await monitor.estimate_completion(1) is None
    submit(simulation, "p")
    told = lambda: [one for one in heard.updates if one.comfyui_prompt_id == "p" and one.estimated_completion]  # noqa: E731
    await until(told)
    assert (await monitor.estimate_completion("1")).tzinfo is not None
    simulation.comfy.interrupt()
    await until(lambda: heard.ended("p"))
    assert await monitor.estimate_completion(1) == (await monitor.get_progress(1)).ended_at
    assert (await monitor.get_progress(1)).status is ProgressStatus.CANCELLED
    assert await monitor.estimate_completion("nobody") is None


async def test_statistics_count_failures_by_job_type_and_title_and_times_of_completed_jobs(made, simulation):
    monitor, heard = made(simulation.url), Heard()
    monitor.add_progress_callback(heard)
    await monitor.start_monitoring()
    for number, fails in enumerate((None, "cuda_oom", "cuda_oom")):
        monitor.monitor_job(number, f"p{number}", "video")
        submit(simulation, f"p{number}", fails, seed=number)
    await until(lambda: all(heard.ended(f"p{number}") for number in range(3)))
    await until(lambda: simulation.comfy.queue_remaining == 0)
    statistics = await monitor.get_queue_statistics()
    assert statistics.keys() == {"running_jobs", "pending_jobs", "monitored_jobs", "generation_stats"}
    assert statistics["monitored_jobs"] == 0
    stats = statistics["generation_stats"]
    assert stats.keys() == {"completion_times", "average_step_duration", "failure_patterns"}
    assert stats["failure_patterns"] == {"video:CUDA out of memory": 2}
    times = stats["completion_times"]["video"]
    assert times.keys() == {"count", "median", "mean", "min", "max"}
    assert times["count"] == 1
    failed = await monitor.get_progress(1)
    assert (failed.status, failed.failure.pattern) == (ProgressStatus.FAILED, "cuda_oom")


# Starting and stopping


async def test_a_port_in_use_raises_and_leaves_nothing_running(made):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        before = asyncio.all_tasks()
        monitor = made(port=taken.getsockname()[1])
        with pytest.raises(OSError, match=r"in use|address"):
            await monitor.start_monitoring()
        assert asyncio.all_tasks() == before
    await monitor.start_monitoring()
    assert monitor.websocket_port == taken_port(monitor)


def taken_port(monitor):
    """The port, after somebody could connect to it."""
    with socket.create_connection(("127.0.0.1", monitor.websocket_port), timeout=PATIENCE) as connection:
        return connection.getpeername()[1]


async def test_starting_and_stopping_twice_changes_nothing_and_it_starts_again(made, simulation):
    monitor, heard = made(simulation.url), Heard()
    monitor.add_progress_callback(heard)
    await monitor.stop_monitoring()
    await monitor.start_monitoring()
    await monitor.start_monitoring()
    await monitor.stop_monitoring()
    await monitor.stop_monitoring()
    await monitor.start_monitoring()
    monitor.monitor_job(1, "p")
    submit(simulation, "p")
    await until(lambda: heard.ended("p"))


async def test_what_is_submitted_right_after_the_start_is_not_missed_however_short_it_is(simulation):
    async with ComfyUIClient(simulation.url) as client, StatusMonitor(client, websocket_port=None) as monitor:
        assert monitor._monitor.ready


async def test_a_comfyui_that_does_not_answer_holds_up_the_start_for_a_moment_only(monkeypatch):
    monkeypatch.setattr("comfyui_exporter.library.FIRST_LOOK", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with ComfyUIClient(url) as client, StatusMonitor(client, websocket_port=None) as monitor:
            assert not monitor._monitor.ready


async def test_two_starts_at_once_are_one(made):
    monitor = made(port=0)
    before = asyncio.all_tasks()
    await asyncio.gather(monitor.start_monitoring(), monitor.start_monitoring())
    watching = [task for task in asyncio.all_tasks() - before if task.get_name().startswith("watch ")]
    assert len(watching) == 1


async def test_after_a_stop_no_task_is_left(made, simulation):
    before = asyncio.all_tasks()
    monitor = made(simulation.url, Database(), port=0)
    monitor.add_progress_callback(Heard())
    async with monitor:
        monitor.monitor_job(1, "p")
        submit(simulation, "p")
    await until(lambda: not [task for task in asyncio.all_tasks() - before if "aiohttp" not in repr(task)])


async def test_it_starts_while_comfyui_is_down_and_sees_it_come_up(made):
    async with Simulation(speed=200) as simulation:
        await simulation.kill()
        monitor, heard = made(simulation.url), Heard()
        monitor.add_progress_callback(heard)
        await monitor.start_monitoring()
        assert monitor.monitor_job(1, "p")
        name = simulation.url.removeprefix("http://")
        value = monitor.registry.get_sample_value
        await until(lambda: value("comfyui_up", {"server": name}) == 0)
        await simulation.restart()
        await until(lambda: value("comfyui_up", {"server": name}) == 1)
        submit(simulation, "p")
        await until(lambda: heard.ended("p"))
        await monitor.stop_monitoring()


async def test_without_a_port_nothing_listens(made, simulation):
    monitor = made(simulation.url, port=None)
    async with monitor:
        assert monitor.websocket_port is None


async def test_the_push_service_tells_of_jobs_on_the_port_that_was_taken(made, simulation):
    monitor = made(simulation.url, port=0)
    async with monitor, aiohttp.ClientSession() as session:
        monitor.monitor_job(1, "p")
        async with session.ws_connect(f"http://127.0.0.1:{monitor.websocket_port}/?job_id=1") as push:
            submit(simulation, "p")
            status = None
            while status != "completed":
                message = await push.receive_json(timeout=PATIENCE)
                if message["type"] == "progress_update":
                    status = message["data"]["status"]


async def test_two_monitors_share_one_loop_and_know_nothing_of_each_other(made):
    async with Simulation(speed=200) as one, Simulation(speed=200) as two:
        first, second = made(one.url), made(two.url)
        heard, other = Heard(), Heard()
        first.add_progress_callback(heard)
        second.add_progress_callback(other)
        async with first, second:
            first.monitor_job(1, "p")
            second.monitor_job(1, "q")
            submit(one, "p")
            submit(two, "q")
            await until(lambda: heard.ended("p") and other.ended("q"))
            assert (await first.get_progress(1)).comfyui_prompt_id == "p"
            assert (await second.get_progress(1)).comfyui_prompt_id == "q"
        assert {update.comfyui_prompt_id for update in heard.updates} == {"p"}


async def test_create_status_monitor_starts_it_unless_told_otherwise(simulation):
    async with ComfyUIClient(simulation.url) as client:
        idle = await create_status_monitor(client, None, 0.1, None, auto_start=False)
        assert idle.registry.get_sample_value("comfyui_exporter_servers") is None
        started = await create_status_monitor(client, poll_interval=0.1, websocket_port=None)
        try:
            assert started.registry.get_sample_value("comfyui_exporter_servers") == 1
        finally:
            await started.stop_monitoring()
        assert await client.queue_remaining() == 0


def test_the_connector_has_the_name_of_older_programs():
    assert ComfyUIConnector is ComfyUIClient


def test_a_store_that_is_misspelt_is_a_value_error():
    with pytest.raises(ValueError, match=r"did you mean sqlite:///jobs\.db"):
        StatusMonitor(store="sqlite:jobs.db")


async def test_a_store_that_cannot_be_used_is_said_and_the_monitor_can_be_started_once_it_can(
    made, simulation, tmp_path
):
    file = tmp_path / "jobs.db"
    file.write_bytes(b"holiday pictures" * 100)
    monitor = made(simulation.url, store=f"sqlite:///{file}")
    with pytest.raises(StoreRefusedError, match="no SQLite database"):
        await monitor.start_monitoring()
    assert file.read_bytes() == b"holiday pictures" * 100
    file.unlink()
    async with monitor:
        other = made(simulation.url, store=f"sqlite:///{file}")
        with pytest.raises(StoreRefusedError, match="another exporter"):
            await other.start_monitoring()


async def test_jobs_and_totals_outlive_the_monitor_in_a_store_alone(made, simulation, tmp_path):
    server = simulation.url.removeprefix("http://")

    def counted(monitor, job_type="video"):
        labels = {"server": server, "job_type": job_type, "status": "completed"}
        return monitor.registry.get_sample_value("comfyui_jobs_total", labels)

    async def one_life(prompt_id, **how):
        monitor, heard = made(simulation.url, **how), Heard()
        monitor.add_progress_callback(heard)
        async with monitor:
            before = counted(monitor) or 0
            monitor.monitor_job(prompt_id, prompt_id, "video")
            submit(simulation, prompt_id)
            await until(lambda: heard.ended(prompt_id))
            await until(lambda: counted(monitor) == before + 1)
        return before

    store = {"store": f"sqlite:///{tmp_path}/jobs.db"}
    assert await one_life("one", **store) == 0
    assert await one_life("two", **store) == 1
    assert await one_life("three") == 0
    again = made(simulation.url, **store)
    async with again:
        await until(lambda: counted(again, "unknown") == 1)  # the third, which ended meanwhile and was not registered
        assert counted(again) == 2
        assert (await again.get_progress("one")).status == "completed"


# Of the host


async def test_the_registry_gives_the_host_what_prometheus_reads(made, simulation):
    monitor, heard = made(simulation.url), Heard()
    monitor.add_progress_callback(heard)
    async with monitor:
        monitor.monitor_job(1, "p", "video")
        submit(simulation, "p")
        await until(lambda: heard.ended("p"))
        name = simulation.url.removeprefix("http://")
        line = f'comfyui_jobs_total{{job_type="video",server="{name}",status="completed"}} 1.0'
        await until(lambda: line in prometheus_client.generate_latest(monitor.registry).decode())
    text = prometheus_client.generate_latest(monitor.registry).decode()
    assert text.count("# TYPE comfyui_jobs_total counter") == 1
    assert "# TYPE comfyui_job_duration_seconds histogram" in text


async def test_no_file_is_written_and_no_log_handler_is_set(made, simulation, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "STATE_DIRECTORY", "XDG_STATE_HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    loggers = [logging.getLogger(name) for name in (None, "comfyui_exporter", "comfyui_exporter.library")]
    before = [(list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    monitor, heard = made(simulation.url), Heard()
    monitor.add_progress_callback(heard)
    async with monitor:
        monitor.monitor_job(1, "p")
        submit(simulation, "p")
        await until(lambda: heard.ended("p"))
    assert os.listdir(tmp_path) == []  # noqa: PTH208
    assert [(list(logger.handlers), logger.level, logger.propagate) for logger in loggers] == before


async def test_a_program_submits_and_iterates(simulation):
    simulation.executor.speed = 20
    async with ComfyUIClient(simulation.url) as client, StatusMonitor(client, websocket_port=None) as monitor:
        async with aclosing(monitor.updates()) as updates:
            prompt_id = await client.submit_workflow(video(Random(1)).graph)
            assert monitor.monitor_job("mine", prompt_id, "video")
            async with asyncio.timeout(PATIENCE):
                async for update in updates:
                    if update.terminal:
                        break
        assert (update.job_id, update.status) == ("mine", ProgressStatus.COMPLETED)
        assert await client.submit_workflow({}) is None


# The page


def page_of(name):
    """What the code blocks of docs/library.md define, run one after the other; the one that defines `name`."""
    page = (Path(__file__).parents[1] / "docs" / "library.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        names = {}
        exec(compile(block, "docs/library.md", "exec"), names)
        if name in names:
            return names[name]
    raise AssertionError(name)


async def test_the_page_submits_a_job_and_follows_it(simulation, monkeypatch, capsys):
    simulation.executor.speed = 20
    monkeypatch.setenv("COMFYUI_URL", simulation.url)
    async with asyncio.timeout(PATIENCE):
        update = await page_of("generate")(video(Random(1)).graph)
    assert (update.job_id, update.status) == (123, ProgressStatus.COMPLETED)
    assert "completed 100.0" in capsys.readouterr().out


async def test_the_page_is_told_by_callback_iteration_and_database(simulation, monkeypatch, capsys):
    simulation.executor.speed = 20
    monkeypatch.setenv("COMFYUI_URL", simulation.url)
    watching = asyncio.create_task(page_of("watch")())
    out = ""

    def registered():
        nonlocal out
        out += capsys.readouterr().out
        return "write 123 initializing" in out

    await until(registered)
    await until(lambda: simulation.sockets.connections)
    submit(simulation, "the prompt_id")
    update = await asyncio.wait_for(watching, PATIENCE)
    assert (update.status, update.batch_id) == (ProgressStatus.COMPLETED, "tonight")
    out += capsys.readouterr().out
    assert "123 completed 100.0" in out


def test_the_page_gives_metrics_to_the_host():
    assert b"comfyui_exporter_sink_errors_total" in page_of("text")
