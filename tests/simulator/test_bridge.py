"""The simulated ComfyUI with the extension `comfyui_bridge`, held to what real ones with it told an exporter."""

from __future__ import annotations

import json
import sys
import types
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

from comfyui_exporter.cli.simulate import simulate
from comfyui_exporter.simulator import SimulateOptions
from comfyui_exporter.simulator.simtime import ManualTime
from comfyui_exporter.simulator.simulation import Simulation
from simulator.shapes import collapsed, shape

RECORDINGS = {
    path.stem: json.loads(path.read_text())["scenarios"]
    for path in (Path(__file__).parents[1] / "bridge" / "recordings").glob("*.json")
}
SCENARIOS = [(version, kind) for version in sorted(RECORDINGS) for kind in RECORDINGS[version]]
GRAPH = RECORDINGS["0.8.0"]["success"]["prompt"]
END = '{"type": "status", "data": null}'


class Simulated:
    """A simulated ComfyUI, and clients that keep what they hear of jobs."""

    def __init__(self, simulation, http):
        self.simulation = simulation
        self._http = http
        self._sockets = {}

    async def connect(self, *client_ids):
        for client_id in client_ids:
            self._sockets[client_id] = await self._http.ws_connect("/ws", params={"clientId": client_id})
            await self._sockets[client_id].receive()

    async def run(self, graph, client_id, *, interrupt=False):
        body = {"prompt": graph} if client_id is None else {"prompt": graph, "client_id": client_id}
        assert self.simulation.comfy.submit(body)[0] == 200
        if interrupt:
            await self.simulation.time.advance(550)
            self.simulation.comfy.interrupt()
        await self.simulation.time.advance(60_000)

    async def heard(self):
        """What each client heard since this was last asked; a preview is named by its event, as in shapes."""
        self.simulation.sockets.dispatch("status", None, None)
        return {client_id: await self._read(ws) for client_id, ws in self._sockets.items()}

    async def _read(self, ws):
        frames = []
        while (message := await ws.receive(timeout=5)).data != END:
            text = message.type is aiohttp.WSMsgType.TEXT
            frames.append(json.loads(message.data) if text else {"type": f"preview {message.data[3]}"})
        return [frame for frame in frames if frame["type"] != "status"]


@pytest.fixture
async def start():
    """Start a simulated ComfyUI with these options."""
    async with AsyncExitStack() as stack:

        async def start(**options):
            simulation = await stack.enter_async_context(Simulation(time=ManualTime(), **options))
            return Simulated(simulation, await stack.enter_async_context(aiohttp.ClientSession(simulation.url)))

        yield start


def events(frames):
    return [frame.get("type") or f"preview {frame['event']}" for frame in frames]


def shapes(frames):
    found = defaultdict(set)
    for frame in frames:
        found[frame["type"]] |= shape(frame["data"], ())
    return dict(found)


@pytest.mark.parametrize(("version", "kind"), SCENARIOS)
async def test_an_exporter_hears_of_the_job_of_another_what_it_heard_of_a_real_one(start, version, kind):
    recorded = RECORDINGS[version][kind]
    simulated = await start(profile=version, bridge=True)
    await simulated.connect("browser", "comfyui-exporter-1")
    for _ in range(2 if kind == "cached_rerun" else 1):
        await simulated.heard()
        await simulated.run(recorded["prompt"], "browser", interrupt=kind == "interrupt")
    heard = await simulated.heard()
    assert shapes(heard["comfyui-exporter-1"]) == shapes(recorded["exporter"])
    # In which order a real ComfyUI takes two branches is luck.
    order = sorted if kind == "blocked" else list
    assert order(collapsed(events(heard["comfyui-exporter-1"]))) == order(collapsed(events(recorded["exporter"])))
    told = [event for event in events(heard["browser"]) if not event.startswith("preview")]
    assert events(heard["comfyui-exporter-1"]) == told


async def test_every_exporter_hears_and_nobody_else_with_the_submitter_there_or_not(start):
    simulated = await start(bridge=True)
    await simulated.connect("someone-else", "comfyui-exporter", "comfyui-exporter-2")
    await simulated.run(GRAPH, "closed-tab")
    heard = await simulated.heard()
    assert heard["someone-else"] == []
    assert heard["comfyui-exporter"] == heard["comfyui-exporter-2"]
    assert events(heard["comfyui-exporter"])[0] == "execution_start"


async def test_what_goes_to_all_is_told_once(start):
    simulated = await start(bridge=True)
    await simulated.connect("someone-else", "comfyui-exporter-1")
    await simulated.run(GRAPH, None)
    heard = await simulated.heard()
    assert heard["comfyui-exporter-1"] == heard["someone-else"]
    assert set(events(heard["someone-else"])) == {"progress", "progress_state"}


async def test_the_job_of_an_exporter_is_told_to_that_exporter_alone(start):
    simulated = await start(bridge=True)
    await simulated.connect("comfyui-exporter-1", "comfyui-exporter-2")
    await simulated.run(GRAPH, "comfyui-exporter-1")
    heard = await simulated.heard()
    assert events(heard["comfyui-exporter-1"]).count("execution_success") == 1
    assert heard["comfyui-exporter-2"] == []


async def test_the_ledger_knows_who_could_hear_of_a_job(start):
    simulated = await start(bridge=True)
    await simulated.connect("someone-else")
    await simulated.run(GRAPH, "browser")
    await simulated.connect("comfyui-exporter-1")
    await simulated.run(GRAPH, "browser")
    assert [run.heard for run in simulated.simulation.ledger.runs] == [False, True]


async def test_without_the_bridge_an_exporter_hears_nothing_of_the_jobs_of_others(start):
    simulated = await start()
    await simulated.connect("comfyui-exporter-1")
    await simulated.run(GRAPH, "browser")
    assert await simulated.heard() == {"comfyui-exporter-1": []}


def test_the_command_has_the_bridge_only_if_asked(monkeypatch):
    served = []

    async def serve(options):
        served.append(options)

    module = types.SimpleNamespace(SimulateOptions=SimulateOptions, serve=serve)
    monkeypatch.setitem(sys.modules, "comfyui_exporter.simulator", module)
    assert CliRunner().invoke(simulate, []).exit_code == 0
    assert CliRunner().invoke(simulate, ["--bridge"]).exit_code == 0
    assert [options.bridge for options in served] == [False, True]


async def test_the_option_reaches_the_sockets(start):
    for bridge in (False, True):
        simulation = Simulation.from_options(SimulateOptions(port=0, bridge=bridge))
        assert simulation.sockets._bridge is bridge
