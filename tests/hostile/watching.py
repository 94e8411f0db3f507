"""Hostile answers and frames of ComfyUI, through the real client, poller, listener and tracker to the exposition."""

from __future__ import annotations

import time
from collections import Counter
from random import Random
from typing import cast

import aiohttp

from comfyui_exporter.cli.logs import LogfmtFormatter
from comfyui_exporter.comfyui.errors import ReadError
from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.blocks import ScalarBlock
from comfyui_exporter.tracker.observations import HistoryLookup, HistoryPage, QueueRead
from hostile import seeds
from hostile.comfyui_server import HostileComfyUI
from hostile.mutate import Mutator
from hostile.stand import SERVER, Stand
from hostile.tally import Overheard, Tally, overhearing

LOOK_EVERY = 4_000
"""Inputs between looks at the exposition and at all that is kept."""


class Watching:
    """Feeds the watch of one server."""

    def __init__(self, seed: int, look_every: int = LOOK_EVERY) -> None:
        self.rng = Random(seed)
        self.comfyui = HostileComfyUI(self.rng)
        self.bodies = Tally("HTTP answers of ComfyUI")
        self.frames = Tally("WebSocket frames of ComfyUI")
        self.most: dict[str, int] = {}
        self.series = self.exposition_bytes = self.log_lines = self.log_bytes = 0
        self._results: Counter[str] = Counter()
        self._look_every = look_every
        self._mutator = Mutator(self.rng)

    async def run(self, bodies: int, frames: int) -> None:
        """Feed so many of each."""
        server, url = await self.comfyui.listen()
        stand = self.stand = Stand(url, self.rng)
        await stand.start()
        inner = stand.watch._observe
        stand.watch._client.attend(
            lambda route, result, seconds, size: (self._results.update([result]), inner(route, result, seconds, size)),
            stand.watch._problem,
            stand.watch._signals.connection_broke,
        )
        with overhearing(LogfmtFormatter()) as overheard:
            try:
                await self._feed(stand, overheard, bodies, frames)
            finally:
                self.log_lines, self.log_bytes = overheard.lines, overheard.size
                await stand.stop()
                server.close()
        self.bodies.outcomes.update(self._results)
        # aiohttp asks again by itself, once, when a connection that it had kept breaks before the head of an answer.
        again = self.bodies.fed - self.bodies.counted
        if 0 < again <= self.comfyui.odd:
            self.bodies.outcomes["asked again"] = again

    async def _feed(self, stand: Stand, overheard: Overheard, bodies: int, frames: int) -> None:
        looked = 0
        stand.watch._signals.opened()
        while self.bodies.fed < bodies or self.frames.fed < frames:
            began = time.perf_counter()
            if self.bodies.fed < bodies:
                await self._ask(stand, overheard)
            middle = time.perf_counter()
            for _ in range(min(frames - self.frames.fed, 1 + frames // max(1, bodies) * 4)):
                self._hear(stand)
            self.bodies.seconds += middle - began
            self.frames.seconds += time.perf_counter() - middle
            stand.tick()
            if self.bodies.fed + self.frames.fed - looked >= self._look_every:
                looked = self.bodies.fed + self.frames.fed
                self._look(stand)
            for told in overheard.take_defects():
                self.bodies.complain(f"logged: {told}", self.comfyui.last)
        self._look(stand)
        for line in overheard.forged:
            self.bodies.complain(f"a log line that is not one line of visible characters: {line!r}")

    async def _ask(self, stand: Stand, overheard: Overheard) -> None:
        """Have the exporter read something, once or as often as a cycle takes."""
        watch, client, rng = stand.watch, stand.watch._client, self.rng
        before, held = self.comfyui.answered, time.thread_time()
        tell = watch._poller._teller.tell
        knows, now = stand.monitor._fleet.watched[SERVER].tracker.ground.knows, stand.clock.now
        prompt_id = "6f1a6f0e-0000-4000-8000-000000000001"
        try:
            match rng.randrange(12):
                case 0:
                    await client.queue_remaining()
                case 1:
                    await watch._read_stats()
                case 2 | 3:
                    read = await client.queue(lambda *_: 0)
                    await tell(QueueRead(now(), read.running, read.pending, complete=not read.problems, since=now()))
                case 4 | 5:
                    await tell(HistoryPage(now(), (await client.history_page(rng.choice((1, 50)), knows)).entries))
                case 6:
                    found = await client.history_entry(prompt_id, knows)
                    await tell(HistoryLookup(now(), prompt_id, next(iter(found.entries), None)))
                case 7:
                    await client.jobs()
                case 8:
                    await client.job_details(prompt_id)
                case _:
                    await watch._cycle(ask=True)
                    watch._show()
        except ReadError:
            pass
        except Exception as error:
            self.bodies.crash(repr(error), self.comfyui.last)
        self.bodies.fed += self.comfyui.answered - before
        took = time.thread_time() - held
        # Of a cycle, each read gives others their turn.
        took /= max(1, self.comfyui.answered - before)
        if took > self.bodies.slowest:
            self.bodies.slowest, self.bodies.slowest_input = took, self.comfyui.last[:2_000]

    def _hear(self, stand: Stand) -> None:
        rng = self.rng
        listener = stand.watch._listener
        if rng.random() < 0.1:
            data = rng.randbytes(rng.choice((0, 4, 100)))
            message = aiohttp.WSMessage(aiohttp.WSMsgType.BINARY, data, None)
        else:
            data = self._mutator.json(rng.choice(seeds.frames()))
            message = aiohttp.WSMessage(aiohttp.WSMsgType.TEXT, data.decode("utf-8", "replace"), None)
        with self.frames.input(data):
            before = self._heard(stand)
            listener._hear(message)
            told = [kind for kind, count in self._heard(stand).items() if count != before.get(kind, 0)]
            assert len(told) == 1, told
            self.frames.count({"malformed": "malformed", "binary": "binary"}.get(told[0], "accepted as valid"))

    @staticmethod
    def _heard(stand: Stand) -> dict[str, float]:
        block = stand.monitor.metrics._blocks[families.EVENTS].get(SERVER)
        return (
            {} if block is None else {labels[0]: value for labels, value in cast("ScalarBlock", block).series.items()}
        )

    def _look(self, stand: Stand) -> None:
        for name, size in stand.sizes().items():
            self.most[name] = max(size, self.most.get(name, 0))
        for problem in (*stand.exposition_problems(), *stand.answer_problems()):
            self.bodies.complain(problem, self.comfyui.last)
        text = b"".join(stand.monitor.metrics.render(openmetrics=True))
        self.exposition_bytes = max(self.exposition_bytes, len(text))
        self.series = max(self.series, sum(not line.startswith(b"#") for line in text.splitlines()))
