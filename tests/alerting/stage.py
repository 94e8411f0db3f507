"""Where drills happen: one Prometheus, one Alertmanager and one receiver for all, and a place of its own for each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from alerting.graphs import good
from alerting.notified import Message, Notified, receiver, servers, started
from alerting.programs import PATIENCE, Alertmanager, ComfyUI, Exporter, Prometheus

T = TypeVar("T")

SETTINGS: Mapping[str, Any] = {"poll_interval": "200ms", "request_timeout": "1s", "job_grace": "500ms"}
"""Of an exporter, about as much shorter as everything."""


@dataclass(slots=True)
class Row:
    """What one alert did in one drill. Times are seconds of the drill; a `for` of a minute is two of them."""

    alert: str
    drill: str
    how: str
    severity: str = ""
    fired_s: float | None = None
    """From what was done until it fired."""
    told_s: float | None = None
    """From what was done until the message came."""
    messages: int = 0
    """That told of something new; one is what we want."""
    repeats: int = 0
    resolved: bool | None = None
    """Whether its end was told; None: nobody waited for it."""
    over_s: float | None = None
    """From what was done to end it until that was told."""
    kept_back: list[str] = field(default_factory=list)
    """Alerts that it kept from being told."""
    text: str = ""
    """What the first message said."""


class Stage:
    """The part that all drills share."""

    def __init__(self, folder: Path, notified: Notified, alertmanager: Alertmanager, prometheus: Prometheus) -> None:
        self.folder = folder
        self.notified = notified
        self.alertmanager = alertmanager
        self.prometheus = prometheus
        self.rows: list[Row] = []
        self.surprises: list[str] = []
        """What was told in a drill that is not about it, from `warning` on."""

    @asynccontextmanager
    async def place(
        self,
        drill: str,
        *,
        count: int = 1,
        settings: Mapping[str, Any] | None = None,
        of_server: Mapping[str, Any] | None = None,
        speed: float = 1.0,
        comfy_url: Callable[[ComfyUI], str] = lambda comfy: comfy.url,
        scraped_at: Callable[[Exporter], str] = lambda exporter: exporter.address,
        port: int | None = None,
    ) -> AsyncIterator[Place]:
        """An exporter with so many ComfyUIs, scraped as a job of its own; what is told of that job is this drill's."""
        comfys = [ComfyUI(self.folder, f"{drill}-gpu{number}", speed=speed) for number in range(count)]
        watched = [{"name": comfy.name, "url": comfy_url(comfy), **(of_server or {})} for comfy in comfys]
        exporter = Exporter(
            self.folder, f"{drill}-exporter", {**SETTINGS, **(settings or {}), "servers": watched}, port
        )
        place = Place(self, drill, comfys, exporter)
        try:
            await asyncio.gather(*(comfy.start() for comfy in comfys))
            await exporter.start()
            self.prometheus.target(place.job, scraped_at(exporter))
            await place.warm()
            yield place
            place.judge()
        except BaseException as error:
            told = [f"{m.alertname} {[a['status'] for a in m.body['alerts']]}" for m in self.notified.about(place.job)]
            error.add_note(f"drill {drill}; told so far: {told}; exporter:\n{exporter.log(1500)}")
            raise
        finally:
            self.rows += place.rows.values()
            self.prometheus.forget(f"comfyui-{drill}")
            for program in (exporter, *comfys):
                program.kill()


class Place:
    """One exporter and its ComfyUIs."""

    def __init__(self, stage: Stage, drill: str, comfys: list[ComfyUI], exporter: Exporter) -> None:
        self.stage = stage
        self.drill = drill
        self.job = f"comfyui-{drill}"
        self.comfys = comfys
        self.comfy = comfys[0]
        self.exporter = exporter
        self.rows: dict[str, Row] = {}
        self.how = ""
        self.expected: set[str] = set()
        """Alerts that come along, because they are as true."""
        self._began = time.time()
        self._undone = time.time()

    async def warm(self) -> None:
        """Let a job complete on each server and be scraped: what happens next is a change."""
        prometheus = self.stage.prometheus
        await prometheus.until(f'comfyui_exporter_build_info{{job="{self.job}"}}')
        for comfy in self.comfys:
            await comfy.submit(good())
        done = f'sum(comfyui_jobs_total{{job="{self.job}",status="completed"}}) >= {len(self.comfys)}'
        await prometheus.until(done)

    def act(self, how: str) -> None:
        """From now on time counts; `how` says what is being done."""
        self.how = how
        self._began = time.time()

    def undo(self) -> None:
        """What was done is being put right."""
        self._undone = time.time()

    async def told(
        self,
        alertname: str,
        *,
        says: tuple[str, ...] = (),
        about: Callable[[dict[str, Any]], bool] = lambda _: True,
        all_servers: bool = False,
        no_job: bool = False,
        patience: float = PATIENCE,
    ) -> Message:
        """Wait for the message that tells of this alert, check its text, and enter it into the table."""
        job = "" if no_job else self.job

        def found() -> Message | None:
            for message in self.stage.notified.of(alertname, job):
                if message.at >= self._began and any(about(alert) for alert in message.firing):
                    return message
            return None

        message = await self._until(found, f"{alertname} of {self.job} was not told", patience)
        alert = next(alert for alert in message.firing if about(alert))
        row = self.rows[alertname] = Row(alertname, self.drill, self.how, alert["labels"]["severity"])
        row.fired_s = round(started(alert) - self._began, 1)
        row.told_s = round(message.at - self._began, 1)
        row.text = alert["annotations"]["description"]
        wanted = [comfy.name for comfy in self.comfys]
        if all_servers and servers(message.firing) != wanted:
            self.stage.surprises.append(f"{self.drill}: {alertname} told of {servers(message.firing)}, not of {wanted}")
        for word in (*says, *((alert["labels"]["server"],) if "server" in alert["labels"] else ())):
            if word not in row.text:
                self.stage.surprises.append(f"{self.drill}: {alertname} does not say {word!r}: {row.text}")
        for bad in ("<no value>", "<error", "%!"):
            if any(bad in text for text in alert["annotations"].values()):
                self.stage.surprises.append(f"{self.drill}: {alertname} says {bad}: {alert['annotations']}")
        return message

    async def over(self, *alertnames: str, no_job: bool = False, patience: float = PATIENCE) -> None:
        """Wait until it was told that all alerts of these names are over."""
        for alertname in alertnames:
            job = "" if no_job else self.job

            def found(name: str = alertname, job: str = job) -> Message | None:
                messages = self.stage.notified.of(name, job)
                return messages[-1] if messages and not messages[-1].firing and messages[-1].over else None

            row = self.rows[alertname]
            row.resolved = False
            message = await self._until(found, f"the end of {alertname} of {self.job} was not told", patience)
            row.resolved = True
            row.over_s = round(message.at - self._undone, 1)

    async def kept_back(self, alertname: str, by: str) -> None:
        """Wait until Alertmanager keeps this one back, and see that nothing was told of it."""

        async def found() -> bool:
            back = await self.stage.alertmanager.kept_back()
            return any((labels["alertname"], labels["job"]) == (alertname, self.job) for labels in back)

        async with asyncio.timeout(PATIENCE):
            while not await found():  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.1)
        if self.stage.notified.of(alertname, self.job):
            self.stage.surprises.append(f"{self.drill}: {alertname} was told although {by} fires")
        self.rows[by].kept_back.append(alertname)

    def judge(self) -> None:
        """Count messages, and note what was told and is not of this drill."""
        for name, row in self.rows.items():
            known: set[str] = set()
            for message in self.stage.notified.of(name, self.job) or self.stage.notified.of(name, ""):
                if message.at < self._began:
                    continue
                now = {alert["fingerprint"] for alert in message.firing}
                row.messages += bool(now - known)
                row.repeats += message.repeats
                known = now
            if row.messages != 1:
                self.stage.surprises.append(f"{self.drill}: {name} was told by {row.messages} messages")
        for message in self.stage.notified.about(self.job):
            severities = {alert["labels"]["severity"] for alert in message.firing}
            if severities - {"info"} and message.alertname not in {*self.rows, *self.expected}:
                surprise = f"{self.drill}: {message.alertname} was told too"
                if surprise not in self.stage.surprises:
                    self.stage.surprises.append(surprise)

    async def _until(self, found: Callable[[], T | None], what: str, patience: float) -> T:
        deadline = time.monotonic() + patience
        while (value := found()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(what)
            await asyncio.sleep(0.05)
        return value


@asynccontextmanager
async def stage(folder: Path, inbox: str | None = None) -> AsyncIterator[Stage]:
    """Start what all drills share; everything ends with it. Messages go to `inbox` too."""
    async with receiver() as notified:
        inboxes = [f"{notified.url}/api/v1/alerts", *([inbox] if inbox else [])]
        alertmanager = Alertmanager(folder, inboxes, f"{notified.url}/watchdog")
        prometheus = Prometheus(folder, alertmanager.address)
        try:
            await asyncio.gather(alertmanager.start(), prometheus.start())
            yield Stage(folder, notified, alertmanager, prometheus)
        finally:
            prometheus.kill()
            alertmanager.kill()
