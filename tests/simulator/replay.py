"""Plays what was done to a real ComfyUI against the simulated one, and keeps what its clients saw.

Time is simulated: each step of a recording happens at its recorded time by a clock that the replay moves, so a replay
takes no longer than its requests.
"""

from __future__ import annotations

import asyncio
import json
import re
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from comfyui_exporter.simulator.simtime import ManualTime
from comfyui_exporter.simulator.simulation import Simulation
from comfyui_exporter.simulator.worker import run_to_end
from simulator.bench import until

RECORDINGS = Path(__file__).parent.parent / "recordings"
SENTINEL = '{"type": "end of replay"}'


def load(name: str) -> list[dict[str, Any]]:
    return json.loads((RECORDINGS / f"{name}.json").read_text())["steps"]


def names() -> list[str]:
    return sorted(path.stem for path in RECORDINGS.glob("*.json"))


@dataclass
class Answer:
    """An answer of the simulator beside the recorded step that asked for it; status None: no connection."""

    step: dict[str, Any]
    status: int | None = None
    body: Any = None


@dataclass
class Heard:
    """What one socket heard: frames as in the recording, `{"event": n}` for binary ones, and how it closed."""

    frames: list[dict[str, Any]] = field(default_factory=list)
    code: int | None = None


@dataclass
class Replayed:
    answers: list[Answer] = field(default_factory=list)
    heard: dict[str, Heard] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    """Prompt ids of the recording by those that the simulator gave instead."""
    queue_in_the_end: Any = None
    history_in_the_end: Any = None
    simulation: Simulation | None = None


def graphs(steps: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Every queue item that the recording shows, by prompt_id and number as text, where these name one item."""
    items: dict[str, list[Any]] = {}
    ambiguous: set[str] = set()

    def note(item: list[Any]) -> None:
        key = f"{item[1]} {item[0]}"
        if items.setdefault(key, item)[2] != item[2]:
            ambiguous.add(key)

    for step in steps:
        body = step.get("body")
        path = step.get("request", {}).get("path", "")
        if isinstance(body, dict) and "/queue" in path and step["request"]["method"] == "GET":
            for item in body["queue_running"] + body["queue_pending"]:
                note(item)
        if isinstance(body, dict) and "/history" in path:
            for entry in body.values():
                if isinstance(entry, dict) and "prompt" in entry:
                    note(entry["prompt"])
    return {key: item for key, item in items.items() if key not in ambiguous}


class Replay:
    def __init__(self, name: str) -> None:
        self.steps = load(name)
        self.time = ManualTime()
        self.simulation = Simulation(time=self.time)
        self.result = Replayed(simulation=self.simulation)
        self._items = graphs(self.steps)
        self._clients: dict[str, Any] = {}

    async def run(self) -> Replayed:
        async with self.simulation, aiohttp.ClientSession(self.simulation.url) as self._http:
            self._submit_what_was_there_before()
            self._count_to_where_the_recorded_server_was()
            now = 0
            for step in self.steps:
                await self.time.advance(max(0, step["t"] - now))
                now = max(now, step["t"])
                await self._do(step)
                await self.time.advance(0)
            for name in list(self._clients):
                await self._close(name)
            await self.time.advance(60_000)
            if self.simulation.comfy.alive:
                self.result.queue_in_the_end = self.simulation.comfy.queue().body
                self.result.history_in_the_end = self.simulation.comfy.history().body
        return self.result

    def _submit_what_was_there_before(self) -> None:
        submitted = {
            step["body"]["prompt_id"]
            for step in self.steps
            if step["kind"] == "http" and isinstance(step.get("body"), dict) and "prompt_id" in step["body"]
        }
        for item in self._items.values():
            if item[1] not in submitted and "history" in json.dumps([s.get("request") for s in self.steps]):
                self.simulation.comfy._number = item[0]
                self.simulation.comfy.submit({"prompt": item[2], "extra_data": item[3], "prompt_id": item[1]})
                run_to_end(self.simulation.comfy)

    def _count_to_where_the_recorded_server_was(self) -> None:
        """Let the numbers be those of the recording: every submission counts, also one that is refused."""
        counted = 0
        for step in self.steps:
            request = step.get("request", {})
            if (request.get("method"), request.get("path")) != ("POST", "/prompt") or "number" in request["body"]:
                continue
            if step["status"] == 200:
                self.simulation.comfy._number = abs(step["body"]["number"]) - counted
                return
            counted += 1

    async def _do(self, step: dict[str, Any]) -> None:
        if step["kind"] == "http":
            await self._ask(step)
        elif step["kind"].startswith("ws:"):
            name = step["kind"].removeprefix("ws:")
            if name not in self.result.heard:
                await self._connect(name, step["frame"]["data"]["sid"])
            elif step.get("frame", {}).get("type") == "feature_flags":
                await self._clients[name][0].send_str(
                    json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
                )
                await until(lambda: self.result.heard[name].frames[-1]["type"] == "feature_flags")
            elif "closed" in step:
                await self._end(name, step["closed"])

    async def _connect(self, name: str, sid: str) -> None:
        self.result.heard[name] = Heard()
        query = {} if re.fullmatch(r"[0-9a-f]{32}", sid) else {"clientId": sid}
        before = set(self.simulation.sockets.connections)
        ws = await self._http.ws_connect("/ws", params=query)
        reader = asyncio.create_task(self._read(ws, self.result.heard[name]))
        await until(lambda: bool(self.result.heard[name].frames))
        (served,) = set(self.simulation.sockets.connections) - before
        self._clients[name] = (ws, reader, served)

    async def _read(self, ws: aiohttp.ClientWebSocketResponse, heard: Heard) -> None:
        async for message in ws:
            if message.type is aiohttp.WSMsgType.BINARY:
                heard.frames.append({"event": struct.unpack(">I", message.data[:4])[0]})
            elif message.data == SENTINEL:
                return
            else:
                heard.frames.append(json.loads(message.data))
        heard.code = ws.close_code

    async def _end(self, name: str, code: int | None) -> None:
        if code == 1006 and self.simulation.comfy.alive and not self.simulation.comfy.exiting:
            await self.simulation.kill()
        await self._close(name)

    async def _close(self, name: str) -> None:
        """Let the client read all that was sent to it, then leave."""
        ws, reader, served = self._clients.pop(name, (None, None, None))
        if ws is not None:
            served.send(SENTINEL)
            await reader
            await ws.close()
            await until(lambda: served not in self.simulation.sockets.connections)

    async def _ask(self, step: dict[str, Any]) -> None:
        if "status" in step and not self.simulation.comfy.alive:
            await self.simulation.restart()
        request = step["request"]
        answer = Answer(step)
        self.result.answers.append(answer)
        with suppress(aiohttp.ClientConnectionError):
            async with self._http.request(request["method"], self._path(request), json=self._body(step)) as response:
                answer.status = response.status
                text = await response.text()
                answer.body = json.loads(text) if response.content_type == "application/json" else text
        if request["method"] == "POST" and request["path"] == "/prompt" and isinstance(step.get("body"), dict):
            self._learn(step["body"], answer.body)

    def _learn(self, recorded: dict[str, Any], given: Any) -> None:
        if "prompt_id" in recorded and isinstance(given, dict) and "prompt_id" in given:
            self.result.ids[given["prompt_id"]] = recorded["prompt_id"]

    def _given(self, recorded_id: str) -> str:
        return next((given for given, recorded in self.result.ids.items() if recorded == recorded_id), recorded_id)

    def _path(self, request: dict[str, Any]) -> str:
        head, slash, prompt_id = request["path"].rpartition("/history/")
        return f"{head}{slash}{self._given(prompt_id)}" if slash else request["path"]

    def _body(self, step: dict[str, Any]) -> Any:
        body = step["request"].get("body")
        if not isinstance(body, dict):
            return body
        answer = step.get("body")
        if "prompt" in body:
            # Some requests were noted after their graph was changed for the next one: the queue shows what was sent.
            answer = answer if isinstance(answer, dict) else {}
            item = self._items.get(f"{answer.get('prompt_id')} {answer.get('number')}")
            return {**body, "prompt": item[2]} if item else body
        if "delete" in body:
            return {"delete": [self._given(prompt_id) for prompt_id in body["delete"]]}
        if isinstance(body.get("prompt_id"), str):
            return {"prompt_id": self._given(body["prompt_id"])}
        return body
