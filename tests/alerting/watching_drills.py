"""Drills of what happens to an exporter and on its way to ComfyUI."""

from __future__ import annotations

import asyncio
import signal

from alerting.graphs import failing, good
from alerting.programs import ComfyUI, Exporter
from alerting.proxies import proxy
from alerting.stage import Stage
from survival.stores import Sqlite


async def exporter_down(stage: Stage) -> None:
    """An exporter is killed right after jobs failed on its server; later it is started again."""
    async with stage.place("exporter") as place:
        await asyncio.gather(*(place.comfy.submit(failing("file")) for _ in range(3)))
        await stage.prometheus.until(f'sum(comfyui_job_failures_total{{job="{place.job}"}}) == 3')
        place.act("kill an exporter")
        place.exporter.kill()
        await place.told("ComfyUIExporterDown", says=(place.exporter.address, place.job))
        await place.kept_back("ComfyUIHighFailureRate", by="ComfyUIExporterDown")
        place.expected |= {"ComfyUIHighFailureRate"}
        place.undo()
        await place.exporter.start()
        await place.over("ComfyUIExporterDown")


async def vanished(stage: Stage) -> None:
    """A server is left out of the configuration, and the exporter is restarted."""
    async with stage.place("vanished", count=2) as place:
        place.act("restart the exporter without one of its servers")
        place.exporter.kill()
        settings = {"servers": [{"name": place.comfy.name, "url": place.comfy.url}]}
        place.exporter.configure(settings)
        place.expected |= {"ComfyUIExporterDown"}  # a start that takes its time, on a busy machine
        await place.exporter.start()
        place.undo()
        await place.told("ComfyUIServerVanished", says=(place.comfys[1].name, place.exporter.address))
        await place.over("ComfyUIServerVanished", patience=240)


async def slow_scrapes(stage: Stage) -> None:
    """The line between Prometheus and an exporter becomes slow."""
    async with proxy() as line:

        def through(exporter: Exporter) -> str:
            line.to = exporter.url
            return line.address

        async with stage.place("scrapes", scraped_at=through) as place:
            place.act("delay each scrape by 0.3 s")
            line.delay_s = 0.3
            await place.told("ComfyUIExporterScrapeSlow", says=(line.address,))
            place.expected |= {"ComfyUIExporterDown"}  # a delayed scrape may take longer than allowed
            place.undo()
            line.delay_s = 0
            await place.over("ComfyUIExporterScrapeSlow")


async def request_errors(stage: Stage) -> None:
    """A third of the requests to a server are answered with an error, as by a proxy before it that is overloaded."""
    async with stage.place("requests") as place:
        place.act("every third request is answered with 500")
        await place.comfy.post("/simulator/faults", {"route": "prompt", "kind": "error", "probability": 0.33})
        await place.told("ComfyUIExporterRequestErrors", says=("most often with result http",))
        place.undo()
        await _without_faults(place.comfy)
        await place.over("ComfyUIExporterRequestErrors")


async def events_refused(stage: Stage) -> None:
    """A proxy before a server lets no WebSocket through."""
    async with stage.place("refused") as place:
        place.act("refuse WebSockets")
        await place.comfy.post("/simulator/faults", {"route": "ws", "kind": "error"})
        await place.comfy.post("/simulator/crash", {"down_ms": 0})
        await place.told("ComfyUIEventStreamDown")
        place.expected |= {"ComfyUIDown"}
        place.undo()
        await _without_faults(place.comfy)
        await place.over("ComfyUIEventStreamDown")


async def events_swallowed(stage: Stage) -> None:
    """A proxy before a server accepts WebSockets and lets nothing through."""
    async with proxy() as line:
        line.mute = True

        def through(comfy: ComfyUI) -> str:
            line.to = comfy.url
            return line.url

        async with stage.place("deaf", comfy_url=through) as place:
            place.act("swallow what comes by WebSocket, while jobs end")
            users = asyncio.create_task(_submit_for_ever(place.comfy))
            try:
                await place.told("ComfyUIEventStreamDown", says=("stays silent while jobs end",), patience=200)
            finally:
                users.cancel()
            place.undo()
            line.mute = False
            for _ in range(3):
                await place.comfy.submit(good())
            await place.over("ComfyUIEventStreamDown")


async def store_errors(stage: Stage) -> None:
    """Another program holds the store's lock."""
    async with stage.place("store") as place:
        store = Sqlite(place.exporter.folder)
        place.act("lock the SQLite file")
        await asyncio.to_thread(store.take_away)
        try:
            for _ in range(5):
                await place.comfy.submit(good())
            await place.told("ComfyUIExporterStoreErrors", says=(place.exporter.address, "job(s) wait to be written"))
        finally:
            await asyncio.to_thread(store.give_back)
        place.undo()
        await place.over("ComfyUIExporterStoreErrors")


async def reload_failed(stage: Stage) -> None:
    """A configuration with a mistake is written, and the exporter is asked to reload it."""
    async with stage.place("reload") as place:
        good_config = place.exporter.config.read_text()
        place.act("reload a configuration with a mistake")
        place.exporter.config.write_text('{"servers": 7}')
        place.exporter.send(signal.SIGHUP)
        says = (place.exporter.address, "because the new one has mistakes")
        await place.told("ComfyUIExporterReloadFailed", says=says)
        place.undo()
        place.exporter.config.write_text(good_config)
        place.exporter.send(signal.SIGHUP)
        await place.over("ComfyUIExporterReloadFailed")


async def _without_faults(comfy: ComfyUI) -> None:
    await comfy.delete("/simulator/faults")


async def _submit_for_ever(comfy: ComfyUI) -> None:
    while True:
        await comfy.submit(good())
        await asyncio.sleep(1.5)


DRILLS = {
    "exporter": exporter_down, "vanished": vanished, "scrapes": slow_scrapes, "requests": request_errors,
    "refused": events_refused, "deaf": events_swallowed, "store": store_errors, "reload": reload_failed,
}  # fmt: skip
