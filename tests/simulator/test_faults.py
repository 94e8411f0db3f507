"""Faults happen to the requests they are meant for, and what they spoil was not shown to anybody."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from comfyui_exporter.simulator.simtime import ManualTime
from comfyui_exporter.simulator.simulation import Simulation
from simulator.bench import until

GRAPH = {
    "1": {"class_type": "ProbeSteps", "inputs": {"steps": 100, "step_ms": 1000, "seed": 1}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "probe"}},
}


@pytest.fixture
async def simulation():
    """A ComfyUI whose time stands still, with one prompt running."""
    async with Simulation(time=ManualTime()) as simulation:
        simulation.comfy.submit({"prompt": GRAPH})
        await simulation.time.advance(0)
        yield simulation


@pytest.fixture
async def http(simulation):
    async with aiohttp.ClientSession(simulation.url) as http:
        yield http


async def get(http, path="/queue"):
    async with http.get(path) as response:
        return response.status, await response.text()


def run_of(simulation):
    return simulation.ledger.runs[0]


async def test_an_answer_without_a_fault_was_shown(simulation, http):
    status, text = await get(http)
    assert (status, len(json.loads(text)["queue_running"])) == (200, 1)
    assert run_of(simulation).shown_running


@pytest.mark.parametrize(
    ("kind", "status", "is_json"), [("error", 500, False), ("garbage", 200, False), ("wrong_shape", 200, True)]
)
async def test_a_spoiled_answer_was_not_shown(simulation, http, kind, status, is_json):
    simulation.faults.add("queue", kind, count=1)
    given, text = await get(http)
    assert given == status
    try:
        spoiled = json.loads(text)
    except ValueError:
        assert not is_json
    else:
        assert is_json
        assert not isinstance(spoiled, dict) or not isinstance(spoiled.get("queue_pending"), list)
    assert not run_of(simulation).shown


@pytest.mark.parametrize("kind", ["cut", "refuse"])
async def test_a_connection_that_ends_early_shows_nothing(simulation, http, kind):
    simulation.faults.add("queue", kind)
    with pytest.raises(aiohttp.ClientError):
        await get(http)
    assert not run_of(simulation).shown


async def test_a_slow_answer_comes_when_its_time_has_passed_and_tells_of_that_time(simulation, http):
    simulation.faults.add("queue", "slow", delay_ms=5000)
    asking = asyncio.create_task(get(http))
    await until(lambda: simulation.time.sleeping(5))
    simulation.comfy.submit({"prompt": GRAPH})
    await simulation.time.advance(5000)
    assert len(json.loads((await asking)[1])["queue_pending"]) == 1


async def test_a_client_that_gives_up_on_an_answer_was_not_shown_it(simulation, http):
    simulation.faults.add("queue", "hang", count=1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(get(http), 0.05)
    assert not run_of(simulation).shown
    await get(http)
    assert run_of(simulation).shown


async def test_a_fault_with_a_count_is_over_after_so_many_requests(simulation, http):
    simulation.faults.add("prompt", "error", count=2)
    assert [(await get(http, "/prompt"))[0] for _ in range(3)] == [500, 500, 200]


async def test_a_fault_spares_other_routes_and_a_star_spares_none(simulation, http):
    simulation.faults.add("history", "error")
    assert [(await get(http, path))[0] for path in ("/history", "/api/history", "/queue")] == [500, 500, 200]
    simulation.faults.clear()
    simulation.faults.add("*", "error")
    assert [(await get(http, path))[0] for path in ("/history", "/queue")] == [500, 500]


async def test_a_probable_fault_meets_some_requests(simulation, http):
    simulation.faults.add("prompt", "error", probability=0.5)
    statuses = [(await get(http, "/prompt"))[0] for _ in range(40)]
    assert 5 < statuses.count(500) < 35


async def test_sockets_can_be_refused_and_cut(simulation, http):
    simulation.faults.add("ws", "error", count=1)
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await http.ws_connect("/ws")
    simulation.faults.add("ws", "cut", count=1)
    cut = await http.ws_connect("/ws")
    await cut.receive()
    assert cut.close_code == 1006
    assert json.loads((await (await http.ws_connect("/ws")).receive()).data)["type"] == "status"


async def test_faults_are_set_and_cleared_over_http(http):
    async with http.post("/simulator/faults", json=[{"route": "queue", "kind": "error"}]) as response:
        assert [fault["kind"] for fault in (await response.json())["faults"]] == ["error"]
    assert (await get(http))[0] == 500
    await http.delete("/simulator/faults")
    assert (await get(http))[0] == 200


@pytest.mark.parametrize("fault", [{}, {"kind": "x"}, {"kind": "error", "count": "2"}, {"kind": "error", "typo": 1}, 5])
async def test_a_fault_that_makes_no_sense_is_refused(http, fault):
    async with http.post("/simulator/faults", json=fault) as response:
        assert response.status == 400
        assert (await response.json())["error"]


async def test_requests_are_counted_by_route_and_the_simulators_own_are_not(simulation, http):
    sizes = [len((await get(http, path))[1]) for path in ("/queue", "/api/queue", "/prompt")]
    await get(http, "/simulator/ledger")
    requests = json.loads((await get(http, "/simulator/ledger"))[1])["requests"]
    assert requests == {
        "prompt": {"count": 1, "bytes": sizes[2]},
        "queue": {"count": 2, "bytes": sizes[0] + sizes[1]},
    }
