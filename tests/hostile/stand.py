"""The parts of `run` in this process, driven by hand: no waiting, a clock that jumps, and bounds that are looked at."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from random import Random

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from comfyui_exporter.alert_inbox import AlertInbox
from comfyui_exporter.config.model import Config
from comfyui_exporter.monitor import Monitor
from comfyui_exporter.push.messages import batch_data, job_data, server_data
from comfyui_exporter.push_service import PushService
from comfyui_exporter.watch.clock import Clock
from comfyui_exporter.watch.server_watch import ServerWatch
from comfyui_exporter.web.api import Api
from comfyui_exporter.web.discovery import Discovery
from comfyui_exporter.web.guard import WriteGuard
from comfyui_exporter.web.server import WebServer, build_app

SERVER = "gpu0"

MOST_FINISHED = 500

_EXEMPLAR = re.compile(r' # \{prompt_id="(?:[^"\\]|\\.)*\\"(?:[^"\\]|\\.)*"\} \S+ \S+$', re.MULTILINE)
"""One with an escaped quote, which prometheus_client's parser takes for the end of the value, other than Prometheus."""


class JumpingClock(Clock):
    """Goes on when told to; its wall clock is set forwards and backwards by years."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 1_767_268_800.0
        self.drift = 0.0

    def now(self) -> float:
        """Give the time."""
        return self.at

    def stamp(self, unix: float) -> float:
        """Turn Unix time into a stamp."""
        return min(unix - self.drift, self.at)

    def wall(self, at: float) -> float:
        """Turn a stamp into Unix time."""
        return at + self.drift


class Stand:
    """One server's watch with all sinks, the push service, the API and the alert inbox, as `run` puts them together."""

    def __init__(self, url: str, rng: Random) -> None:
        config = Config.model_validate({
            "servers": [{"name": SERVER, "url": url, "job_timeout": "1h"}],
            "store": {"url": "memory"},
            "job_labels": ["project"],
            "job_types": [{"job_type": "image", "node_types": ["SaveImage*", "Probe*"]}],
            "max_finished": MOST_FINISHED,
            "request_timeout": "1s",
        })  # fmt: skip
        self.limits = config.limits
        self.clock = JumpingClock()
        self.rng = rng
        self.monitor = Monitor(config, clock=self.clock, rng=rng)
        self.push = PushService(self.monitor, config.push)
        self.alerts = AlertInbox(self.monitor, self.push.hub, self.clock)
        app = build_app(self.monitor.metrics, "/metrics", lambda: True)
        guard = WriteGuard()
        self.api = Api(
            board=self.monitor.board,
            history=self.monitor.history,
            register=self.monitor.register,
            kept=self.monitor.kept,
            token_for=self.push.token_for,
            access=self.push.access,
            guard=guard,
        )
        self.api.add_to(app)
        self.alerts.add_to(app, guard)
        app.router.add_get("/ws", self.push.handler.__call__)
        app.router.add_get("/sd", Discovery(self.monitor.metrics, None, "/metrics").__call__)
        self.web = WebServer(app)
        self.push_web = WebServer(self.push.app)

    async def start(self) -> None:
        """Make the watch, and take it out of the hands of its own task."""
        await self.alerts.open()
        self.monitor.start()
        task = self.monitor._fleet.watched[SERVER].task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self.push.hub.release()

    async def stop(self) -> None:
        """Close what is open."""
        await self.web.close()
        await self.push_web.close()
        await self.push.hub.close(0.0)
        await self.watch._client.close()
        await self.monitor.stop()

    @property
    def watch(self) -> ServerWatch:
        """The watch of the server."""
        return self.monitor._fleet.watched[SERVER].watch

    def tick(self) -> None:
        """Let time pass, and now and then set the wall clock."""
        self.clock.at += self.rng.choice((0.05, 0.5, 2.0, 20.0, 200.0))
        if self.rng.random() < 0.001:
            self.clock.drift = self.rng.choice((0.0, 1e9, -1e9, 3600.0, -3600.0, 4e9, -1.7e9))

    # What must hold

    def exposition_problems(self) -> list[str]:
        """What Prometheus would not take of a scrape, and which family has more series than it may."""
        problems = []
        for openmetrics in (False, True):
            text = b"".join(self.monitor.metrics.render(openmetrics)).decode()
            if openmetrics:
                text = _EXEMPLAR.sub("", text)
            try:
                found = list((parse_openmetrics if openmetrics else parse_text)(text))
            except Exception as error:
                problems.append(f"not readable ({openmetrics=}): {error!r}")
                continue
            for family in found:
                # A histogram has one sample more for each bucket; what is bounded is its label sets.
                sets = {tuple(v for k, v in sample.labels.items() if k != "le") for sample in family.samples}
                if len(sets) > self._most(family.name):
                    problems.append(f"{family.name} has {len(sets)} series")
                doubles = Counter((sample.name, *sample.labels.items()) for sample in family.samples)
                problems += [f"twice: {series}" for series, count in doubles.items() if count > 1][:3]
                for sample in family.samples:
                    if any(len(value) > 200 or not _visible(value) for value in sample.labels.values()):
                        problems.append(f"label of {sample.name}: {sample.labels!r}"[:500])
                        break
        return problems

    def _most(self, family: str) -> int:
        if family.startswith(("comfyui_job_progress", "comfyui_job_current", "comfyui_job_total_steps")):
            return self.limits.job_series
        # All bounded labels may become `other` in one more set for each value of those that are our own.
        return self.limits.family_series + 100

    def answer_problems(self) -> list[str]:
        """What of the board cannot be given to a client."""
        board = self.monitor.board
        problems = []
        told = [job_data(update, board.find_nodes(update)) for update in board.jobs]
        told += [server_data(server) for server in board.servers]
        told += [batch_data(batch) for batch_id in board.active_batches if (batch := board.batch(batch_id))]
        for data in told:
            try:
                json.loads(json.dumps(data, ensure_ascii=False, allow_nan=False).encode())
            except (ValueError, UnicodeError) as error:
                problems.append(f"{error!r}: {data!r}"[:500])
        return problems

    def sizes(self) -> dict[str, int]:
        """How much is kept that grows with what servers and clients say."""
        tracker = self.monitor._fleet.watched[SERVER].tracker
        state = self.push.hub.state
        return {
            "open runs": len(tuple(tracker.open_runs)),
            "finished runs": len(tuple(tracker.finished_runs)),
            "known history entries": len(tracker.ground._known),
            "heard prompts": len(tracker.hearing._progress),
            "named prompts": len(tuple(tracker.hearing.named)),
            "vanished runs": len(tracker._roster._vanished),
            "jobs to tell of": len(state.jobs),
            "batches to tell of": len(state.batches),
            "alerts": len(tuple(self.alerts.book.firing)),
            "registrations": len(self.monitor._registrations._waiting),
            "reported problems": len(self.watch._reported),
        }


def _visible(value: str) -> bool:
    return not any(character < " " or "\x7f" <= character < "\xa0" for character in value)
