"""The whole simulated ComfyUI: its life and death, its users, and what it starts with."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import aiohttp
import pytest

from comfyui_exporter.simulator.profile import PROFILES
from comfyui_exporter.simulator.simtime import ManualTime
from comfyui_exporter.simulator.simulation import SimulateOptions, Simulation, serve
from comfyui_exporter.simulator.workflows import KINDS
from simulator.bench import until

HOUR = 3_600_000
GRAPH = {
    "1": {"class_type": "ProbeSteps", "inputs": {"steps": 10, "step_ms": 1000, "seed": 1}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "probe"}},
}


async def json_of(http, path):
    async with http.get(path) as response:
        return await response.json()


async def test_a_crash_closes_sockets_with_1006_refuses_connections_and_forgets_everything():
    async with Simulation(time=ManualTime()) as simulation, aiohttp.ClientSession(simulation.url) as http:
        simulation.comfy.submit({"prompt": GRAPH})
        await simulation.time.advance(0)
        await json_of(http, "/queue")
        ws = await http.ws_connect("/ws")
        await ws.receive()
        crash = asyncio.create_task(simulation.crash(down_ms=3000))
        await ws.receive()
        assert ws.close_code == 1006
        await until(lambda: simulation.time.sleeping(1))
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get("/prompt")
        await simulation.time.advance(3000)
        await crash
        assert await json_of(http, "/queue") == {"queue_running": [], "queue_pending": []}
        report = await json_of(http, "/simulator/ledger")
        assert (report["restarts"], report["expected"]["lost"]) == (1, 1)


async def test_a_restarted_process_works_on_what_is_submitted_to_it():
    async with Simulation(time=ManualTime()) as simulation:
        simulation.comfy.submit({"prompt": GRAPH})
        await simulation.time.advance(500)
        await simulation.restart()
        simulation.comfy.submit({"prompt": GRAPH})
        await simulation.time.advance(11_000)
        assert [run.truth for run in simulation.ledger.runs] == ["lost", "completed"]


async def test_crash_and_restart_can_be_asked_for_over_http():
    # The client must not send on a connection that it kept from before the crash.
    connector = aiohttp.TCPConnector(force_close=True)
    async with Simulation() as simulation, aiohttp.ClientSession(simulation.url, connector=connector) as http:
        for path, body in (("/simulator/restart", None), ("/simulator/crash", {"down_ms": 5})):
            before = simulation.ledger.restarts
            async with http.post(path, json=body) as response:
                assert response.status == 200
            await until(lambda before=before: simulation.ledger.restarts > before)
        assert await json_of(http, "/prompt") == {"exec_info": {"queue_remaining": 0}}


async def test_nodes_take_their_time_by_the_speed_that_was_asked_for():
    async with Simulation(time=ManualTime(), speed=10) as simulation:
        simulation.comfy.submit({"prompt": GRAPH})
        await simulation.time.advance(1100)
        run = simulation.ledger.runs[0]
        assert run.truth == "completed"
        assert 1000 <= run.ended_ms - run.started_ms <= 1010


async def test_an_interrupt_is_noticed_at_the_next_step():
    async with Simulation(time=ManualTime()) as simulation:
        simulation.comfy.submit({"prompt": GRAPH})
        await simulation.time.advance(2500)
        simulation.comfy.interrupt()
        await simulation.time.advance(400)
        assert simulation.ledger.runs[0].truth == "open"
        await simulation.time.advance(200)
        assert simulation.ledger.runs[0].truth == "interrupted"


@pytest.mark.parametrize("profile", PROFILES)
async def test_users_make_a_believable_mix_in_every_version(profile):
    async with Simulation(
        time=ManualTime(), profile=profile, seed=3, traffic_rate=20, failure_rate=0.3, speed=20
    ) as simulation:
        await simulation.time.advance(HOUR / 4)
        runs = simulation.ledger.runs
        assert 200 < len(runs) < 400
        truths = Counter(run.truth for run in runs)
        assert truths["completed"] > truths["failed"] > 20
        assert truths["interrupted"] > 0
        assert {run.job_type for run in runs} == {"unknown", *KINDS}
        assert len({run.exception_type for run in runs if run.truth == "failed"}) >= 5
        assert simulation.comfy.system_stats().body["devices"][0]["torch_vram_total"] > 0


async def test_memory_that_another_program_takes_is_not_free():
    async with Simulation(time=ManualTime()) as simulation, aiohttp.ClientSession(simulation.url) as http:

        async def free():
            (device,) = (await json_of(http, "/system_stats"))["devices"]
            return device["vram_free"]

        before = await free()
        async with http.post("/simulator/memory", json={"taken_gigabytes": 10}) as response:
            assert await response.json() == {"taken_gigabytes": 10}
        assert await free() == before - (10 << 30)
        async with http.post("/simulator/memory", json={"taken_gigabytes": 99}) as response:
            assert response.status == 200
        assert await free() == 0


async def test_the_same_seed_gives_the_same_history():
    async def history():
        async with Simulation(time=ManualTime(), seed=5, traffic_rate=10, speed=10) as simulation:
            await simulation.time.advance(HOUR / 10)
            return json.dumps(simulation.comfy.history().body)

    assert await history() == await history()


async def test_what_hangs_stays_in_the_middle_until_a_new_process_works_on_what_comes_then():
    async with Simulation(time=ManualTime()) as simulation:
        simulation.comfy.submit({"prompt": GRAPH})
        await simulation.time.advance(3500)
        simulation.executor.hang()
        simulation.comfy.interrupt()
        await simulation.time.advance(HOUR)
        assert simulation.ledger.runs[0].place == "running"
        await simulation.restart()
        simulation.comfy.submit({"prompt": GRAPH})
        await simulation.time.advance(11_000)
        assert [run.truth for run in simulation.ledger.runs] == ["lost", "completed"]


async def test_past_jobs_are_those_of_the_users_and_took_as_long_as_at_its_speed():
    class Users:
        def body(self):
            return {"prompt": GRAPH, "extra_data": {"job_type": "probe"}}

        def fails(self):
            return False

    async with Simulation(time=ManualTime(), speed=5, history=3, users=Users()) as simulation:
        runs = simulation.ledger.runs
        assert [run.job_type for run in runs] == ["probe"] * 3
        # The others come from the cache, but for what is saved.
        assert 1400 < runs[0].ended_ms - runs[0].started_ms < 3000
        assert runs[-1].ended_ms <= simulation.time.now_ms()


async def test_the_rate_of_users_can_be_changed_while_it_runs():
    async with Simulation(time=ManualTime()) as simulation, aiohttp.ClientSession(simulation.url) as http:
        await simulation.time.advance(HOUR)
        assert simulation.ledger.runs == []
        async with http.post("/simulator/traffic", json={"rate": 60, "failure_rate": 0}) as response:
            assert await response.json() == {"rate": 60, "failure_rate": 0}
        await simulation.time.advance(60_000)
        assert 30 < len(simulation.ledger.runs) < 100


@pytest.mark.parametrize("profile", PROFILES)
async def test_it_starts_with_a_history_that_ended_and_a_queue_that_waits(profile):
    time = ManualTime()
    async with Simulation(
        time=time, profile=profile, history=30, pending=5, graph_bytes=30_000, failure_rate=0.2
    ) as simulation:
        history = simulation.comfy.history().body
        ends = [entry["status"]["messages"][-1][1]["timestamp"] for entry in history.values()]
        assert len(history) == 30
        assert ends == sorted(ends)
        assert ends[-1] <= time.now_ms()
        assert any(entry["status"]["status_str"] == "error" for entry in history.values())
        assert all(entry["outputs"] for entry in history.values() if entry["status"]["completed"])
        assert simulation.comfy.queue_remaining == 5


async def test_a_submission_from_a_browser_weighs_what_was_asked_for():
    async with Simulation(time=ManualTime(), pending=20, graph_bytes=30_000) as simulation:
        sizes = [len(json.dumps(item)) for item in simulation.comfy.queue().body["queue_pending"]]
        assert 28_000 < max(sizes) < 32_000


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", "/jobs", 404),
        ("POST", "/nope", 405),
        ("DELETE", "/prompt", 405),
        ("GET", "/", 200),
    ],
)
async def test_what_comfyui_does_not_have_is_not_found_or_not_allowed(method, path, status):
    async with Simulation() as simulation, aiohttp.request(method, simulation.url + path) as response:
        assert response.status == status


async def test_a_client_that_leaves_midway_frees_its_socket():
    async with Simulation() as simulation, aiohttp.ClientSession(simulation.url) as http:
        ws = await http.ws_connect("/ws?clientId=me")
        await ws.receive()
        assert len(simulation.sockets.connections) == 1
        await ws.close()
        await until(lambda: not simulation.sockets.connections)


async def test_what_is_broadcast_while_a_socket_is_open_was_heard():
    async with Simulation(time=ManualTime()) as simulation, aiohttp.ClientSession(simulation.url) as http:
        simulation.comfy.submit({"prompt": GRAPH})
        await simulation.time.advance(2000)
        assert not simulation.ledger.runs[0].heard
        ws = await http.ws_connect("/ws")
        await ws.receive()
        await simulation.time.advance(2000)
        assert simulation.ledger.runs[0].heard


async def test_the_command_serves_until_it_is_cancelled(capsys):
    serving = asyncio.create_task(serve(SimulateOptions(port=0)))
    written = []
    await until(lambda: written.append(capsys.readouterr().out) or "http" in written[-1])
    async with aiohttp.ClientSession(written[-1].split()[-1]) as http:
        assert await json_of(http, "/prompt") == {"exec_info": {"queue_remaining": 0}}
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_a_port_in_use_is_an_error_and_an_unknown_profile_is_another():
    async with Simulation() as simulation:
        with pytest.raises(OSError, match="in use"):
            await serve(SimulateOptions(port=int(simulation.url.rpartition(":")[2])))
    with pytest.raises(ValueError, match=r"choose one of 0\.3\.64, 0\.8\.0, 0\.38"):
        await serve(SimulateOptions(port=0, profile="1.0"))
