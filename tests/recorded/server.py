"""A ComfyUI that goes through what a recording shows, and answers as the real one did."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from aiohttp import web

RECORDINGS = Path(__file__).parents[1] / "recordings"

BURST_MS = 8
"""Steps closer together than this are one burst: no watcher can look in between."""

_SOCKETS = ("observer", "observer_anonymous", "anonymous", "observer_named", "plain", "second", "submitter")
"""Whose `status` frames tell what ComfyUI broadcast: the first of these that the recording has, until a restart."""

_AFTER_RESTART = "_after_restart"

_STATS: dict[str, Any] = {"system": {"comfyui_version": "0.3.64"}, "devices": []}

Item = list[Any]
Key = tuple[str, float]


class NotShownError(Exception):
    """The recording does not show how a job ended."""


@dataclass
class Recording:
    """One capture, and what its bodies tell of each job."""

    name: str
    steps: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        recorded = json.loads((RECORDINGS / f"{self.name}.json").read_text())
        self.steps = recorded["steps"]
        self.items: dict[Key, Item] = {}
        self.entries: dict[Key, list[dict[str, Any]]] = {}
        """By job, in the order in which its runs started: one id and number may have run twice."""
        for step in self.steps:
            body: Any = step.get("body")
            if is_queue(body):
                for item in (*body["queue_running"], *body["queue_pending"]):
                    self.items.setdefault(key_of(item), item)
            elif is_history(body):
                for entry in body.values():
                    runs = self.entries.setdefault(key_of(entry["prompt"]), [])
                    if entry not in runs:
                        runs.append(entry)
                    self.items.setdefault(key_of(entry["prompt"]), entry["prompt"])
        for runs in self.entries.values():
            runs.sort(key=lambda entry: entry["status"]["messages"][0][1]["timestamp"])
        names = {step["kind"].removeprefix("ws:") for step in self.steps if step["kind"].startswith("ws:")}
        again = [name for name in names if name.endswith(_AFTER_RESTART)]
        self.heard = {f"ws:{name}" for name in [*[name for name in _SOCKETS if name in names][:1], *again]}
        self.puts = [step for step in self.steps if _queued(step)]
        self.stats = next(
            (step["body"] for step in self.steps if is_read(step, "/system_stats") and step["status"] == 200), _STATS
        )

    def initial_history(self) -> dict[str, Any]:
        """The entries that were there before: those of jobs that nobody submits in the recording."""
        submitted = {self.put_key(put) for put in self.puts}
        old = [entry for key, runs in self.entries.items() if key not in submitted for entry in runs]
        old.sort(key=lambda entry: entry["status"]["messages"][0][1]["timestamp"])
        return {entry["prompt"][1]: entry for entry in old}

    def put_key(self, put: dict[str, Any]) -> Key:
        """The job that a POST /prompt put in the queue."""
        if put["status"] == 200:
            return (put["body"]["prompt_id"], put["body"]["number"])
        sent = put["request"]["body"]
        return (str(sent["prompt_id"]), float(sent["number"]))

    def put_item(self, put: dict[str, Any]) -> Item:
        """The queue item that it became, as shown elsewhere in the recording, else as it was sent."""
        key = self.put_key(put)
        if key in self.items:
            return self.items[key]
        sent = put["request"]["body"]
        extra = dict(sent.get("extra_data") or {})
        if sent.get("client_id") is not None:
            extra["client_id"] = sent["client_id"]
        return [key[1], key[0], sent["prompt"], extra, []]


def is_queue(body: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(body, dict) and "queue_running" in body


def is_history(body: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(body, dict) and all(isinstance(entry, dict) and "prompt" in entry for entry in body.values())


def is_read(step: dict[str, Any], path: str) -> bool:
    """Whether a step is an answered GET of that path, with or without /api."""
    request = step.get("request", {})
    return (
        request.get("method") == "GET"
        and request["path"].removeprefix("/api") == path
        and step.get("status") is not None
    )


def is_post(step: dict[str, Any], path: str) -> bool:
    request = step.get("request", {})
    return bool(request.get("method") == "POST" and request["path"] == path)


def _rests(step: dict[str, Any], following: dict[str, Any]) -> bool:
    return following["t"] - step["t"] >= BURST_MS or is_post(following, "/history")


def _queued(step: dict[str, Any]) -> bool:
    """Whether a POST /prompt put something in the queue; of those answered by 500 only one with an id did."""
    if not is_post(step, "/prompt"):
        return False
    return step["status"] == 200 or (step["status"] == 500 and "prompt_id" in step["request"]["body"])


def key_of(item: Item) -> Key:
    return (item[1], item[0])


def order_of(item: Item) -> tuple[float, str]:
    return (item[0], item[1])


class Replay:
    """The states that ComfyUI went through, as far as the recording shows them.

    What a step shows is taken as it was recorded; between reads, `status` frames say when the running job ended and
    when the next was taken, and its entry is in the history from then on, as on the real one.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.running: list[Item] = []
        self.pending: list[Item] = []
        self.history = recording.initial_history()
        self.up = True
        self.frames: list[int] = []
        """The `status` frames that were broadcast and that nobody has fetched yet."""
        self.disagreements: list[str] = []
        """Recorded answers that differ from the state that led to them."""
        self.not_shown: str | None = None
        """The prompt_id of the job whose end is not in the recording; there the replay stops."""
        self.boots = 1
        self._puts = 0
        self._ends: Counter[Key] = Counter()
        self._put: Counter[Key] = Counter(recording.put_key(put) for put in recording.puts)

    @property
    def remaining(self) -> int:
        return len(self.running) + len(self.pending)

    def moments(self) -> Iterator[int]:
        """Go through the recording; each time of rest is a moment at which a watcher may look (ms of the recording).

        So is the time before a client deletes history, or else nobody could have read it.
        """
        steps = self.recording.steps
        for index, step in enumerate(steps):
            before = len(self.frames)
            try:
                self._take(step)
            except NotShownError as error:
                self.not_shown = str(error)
                del self.frames[before:]
                yield step["t"]
                return
            if index + 1 == len(steps) or _rests(step, steps[index + 1]):
                yield step["t"]

    def _take(self, step: dict[str, Any]) -> None:
        if step["kind"].startswith("ws:"):
            self._hear(step)
        elif step["kind"] == "http":
            self._request(step)

    # The socket

    def _hear(self, step: dict[str, Any]) -> None:
        if step["kind"] not in self.recording.heard:
            return
        if step.get("closed") == 1006:
            self._die()
            return
        frame = step.get("frame", {})
        if frame.get("type") != "status" or "sid" in frame["data"]:
            return
        level = frame["data"]["status"]["exec_info"]["queue_remaining"]
        self._level(level)
        self.frames.append(level)

    # Requests

    def _request(self, step: dict[str, Any]) -> None:
        body: Any = step.get("body")
        if step.get("status") is None:
            self._die()
            return
        if not self.up:
            self.up = True
            self.boots += 1
        if step in self.recording.puts:
            if self.recording.puts.index(step) >= self._puts:
                self._put_next()
        elif is_post(step, "/queue"):
            ids = step["request"]["body"].get("delete", [])
            clear = step["request"]["body"].get("clear", False)
            self.pending = [item for item in self.pending if not (clear or item[1] in ids)]
        elif is_post(step, "/history"):
            ids = step["request"]["body"].get("delete", [])
            clear = step["request"]["body"].get("clear", False)
            self.history = {key: entry for key, entry in self.history.items() if not (clear or key in ids)}
        elif is_queue(body):
            self._show_queue(step["t"], body)
        elif is_read(step, "/history") and is_history(body):
            self._show_history(step["t"], body)
        elif is_read(step, "/prompt"):
            self._level(body["exec_info"]["queue_remaining"])

    def _show_queue(self, at: int, body: dict[str, Any]) -> None:
        shown = Counter(key_of(item) for item in (*body["queue_running"], *body["queue_pending"]))
        while shown - self._keys():
            self._put_next()
        while self._keys() - shown:
            if not self.running:
                self._start_next()
            if key_of(self.running[0]) in shown:
                self.disagreements.append(f"{at} /queue")
                break
            self._end_running()
        self.running, self.pending = list(body["queue_running"]), list(body["queue_pending"])

    def _show_history(self, at: int, body: dict[str, Any]) -> None:
        for entry in body.values():
            if key_of(entry["prompt"]) in self._keys() and entry not in self.history.values():
                self._end_running()
        if list(body.items()) != list(self.history.items()):
            self.disagreements.append(f"{at} /history")
        self.history = dict(body)

    # What happens to jobs

    def _level(self, level: int) -> None:
        while level > self.remaining:
            self._put_next()
        if level == self.remaining and not self.running:
            self._start_next()
        while level < self.remaining:
            self._end_running()

    def _keys(self) -> Counter[Key]:
        return Counter(key_of(item) for item in (*self.running, *self.pending))

    def _put_next(self) -> None:
        if self._puts == len(self.recording.puts):
            raise AssertionError("more jobs are shown than were submitted")
        self.pending.append(self.recording.put_item(self.recording.puts[self._puts]))
        self._puts += 1
        self._broadcast_unrecorded()

    def _start_next(self) -> None:
        if self.pending:
            item = min(self.pending, key=order_of)
            self.pending.remove(item)
            self.running = [item]

    def _end_running(self) -> None:
        if not self.running:
            self._start_next()
        item = self.running[0]
        key = key_of(item)
        entries = self.recording.entries.get(key, [])
        # Of several runs of one key the last ones are shown: a later run replaced the entry of an earlier one.
        nth = self._ends[key] - (self._put[key] - len(entries))
        if nth < 0:
            raise NotShownError(key[0])
        self._ends[key] += 1
        self.running = []
        self.history[item[1]] = entries[nth]
        self._broadcast_unrecorded()

    def _broadcast_unrecorded(self) -> None:
        """ComfyUI says each put and each end to its sockets, also where the recording had none."""
        if not self.recording.heard:
            self.frames.append(self.remaining)

    def _die(self) -> None:
        self.up = False
        self.running, self.pending, self.history = [], [], {}


class Server:
    """Serves the state of a replay on a port of its own; when the replay is down, nothing listens there."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._sockets: dict[web.WebSocketResponse, web.Request] = {}
        self._boots = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def follow(self) -> int:
        """Start, stop, restart as the replay says, and broadcast what it has; how many frames each socket gets."""
        if self._runner is not None and (not self._replay.up or self._boots != self._replay.boots):
            await self.stop()
        if self._runner is None and self._replay.up:
            await self._start()
            self._replay.frames.clear()  # nobody was there to hear them
        frames, self._replay.frames = self._replay.frames, []
        for level in frames:
            for socket in self._sockets:
                await socket.send_json(_status(level))
        return len(frames) if self._sockets else 0

    async def stop(self) -> None:
        """Go down without a word, as a killed process does."""
        for request in self._sockets.values():
            if request.transport is not None:
                request.transport.abort()
        self._sockets.clear()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _start(self) -> None:
        app = web.Application()
        for prefix in ("", "/api"):
            app.router.add_get(f"{prefix}/prompt", self._prompt)
            app.router.add_get(f"{prefix}/queue", self._queue)
            app.router.add_get(f"{prefix}/history", self._history)
            app.router.add_get(prefix + "/history/{prompt_id}", self._history_entry)
            app.router.add_get(f"{prefix}/system_stats", self._system_stats)
        app.router.add_get("/ws", self._ws)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]
        self._boots = self._replay.boots

    async def _prompt(self, _request: web.Request) -> web.Response:
        return web.json_response({"exec_info": {"queue_remaining": self._replay.remaining}})

    async def _queue(self, _request: web.Request) -> web.Response:
        return web.json_response({"queue_running": self._replay.running, "queue_pending": self._replay.pending})

    async def _history(self, request: web.Request) -> web.Response:
        entries = list(self._replay.history.items())
        most, offset = int(request.query.get("max_items", len(entries))), int(request.query.get("offset", "-1"))
        if offset < 0:
            offset = max(0, len(entries) - most)
        return web.json_response(dict(entries[offset : offset + most] if most > 0 else []))

    async def _history_entry(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["prompt_id"]
        found = self._replay.history.get(prompt_id)
        return web.json_response({} if found is None else {prompt_id: found})

    async def _system_stats(self, _request: web.Request) -> web.Response:
        return web.json_response(self._replay.recording.stats)

    async def _ws(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets[socket] = request
        await socket.send_json(_status(self._replay.remaining, sid=request.query["clientId"]))
        async for _ in socket:
            pass
        self._sockets.pop(socket, None)
        return socket


def _status(level: int, **more: str) -> dict[str, Any]:
    return {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": level}}, **more}}
