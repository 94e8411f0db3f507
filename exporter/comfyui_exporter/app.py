"""`comfyui-exporter run`: the process that watches and serves."""

from __future__ import annotations

import asyncio
import logging
import platform
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from aiohttp import web

from comfyui_exporter import __version__
from comfyui_exporter.alert_inbox import AlertInbox
from comfyui_exporter.config.addresses import Address
from comfyui_exporter.config.errors import ConfigError
from comfyui_exporter.config.model import Config
from comfyui_exporter.config.rules import without_credentials
from comfyui_exporter.config.settings import Settings
from comfyui_exporter.config.web_config import load_web_config
from comfyui_exporter.gpu.gauges import GpuMetrics
from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.process import ProcessMetrics
from comfyui_exporter.monitor import Monitor, made_to_stay
from comfyui_exporter.push.handler import SOCKETS
from comfyui_exporter.push.open_files import allow_open_files
from comfyui_exporter.push_service import PushService, hosts_of
from comfyui_exporter.reload import Apply, Reloader
from comfyui_exporter.store.errors import StoreRefusedError
from comfyui_exporter.watch.clock import Clock
from comfyui_exporter.web.about import About
from comfyui_exporter.web.api import Api
from comfyui_exporter.web.auth import Gate
from comfyui_exporter.web.crowd import MOST_CONNECTIONS
from comfyui_exporter.web.discovery import Discovery
from comfyui_exporter.web.guard import WriteGuard
from comfyui_exporter.web.headers import add_headers
from comfyui_exporter.web.live_page import LivePage
from comfyui_exporter.web.reloading import Reloading
from comfyui_exporter.web.server import WebServer, build_app
from comfyui_exporter.web.web_config import WebConfig

if TYPE_CHECKING:
    from comfyui_exporter.webhooks.service import Webhooks

log = logging.getLogger("comfyui_exporter")

FINE, FAILED, UNUSABLE = 0, 1, 2
"""Exit codes: ended by a signal; could not go on; the settings can't be used."""


def run(settings: Settings) -> int:
    """Watch and serve until SIGTERM or SIGINT; the exit code."""
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    web_config = WebConfig(settings.web_config_file, load_web_config)
    if not await _can_be_used(web_config):
        return UNUSABLE
    exporter = _Exporter(settings, web_config)
    loop.add_signal_handler(signal.SIGHUP, exporter.reload)
    try:
        if not (await exporter.open() and await exporter.listen()):
            return FAILED
        exporter.start()
        await stop.wait()
        log.info("stopping")
    finally:
        await exporter.close()
    return FINE


class _Exporter:
    """The parts of the process, and in which order they open, begin and close."""

    def __init__(self, settings: Settings, web_config: WebConfig) -> None:
        self._settings = settings
        self._web_config = web_config
        self._reloader = Reloader(settings)
        self._reloader.also.append(web_config.reload)
        self._servers: list[WebServer] = []
        self._closing = AsyncExitStack()
        """Closes in the opposite order of opening."""
        self._begin: list[Callable[[], None]] = []

    def reload(self) -> None:
        """Read the configuration anew, in a task of its own."""
        self._reloader.reload_soon()

    async def open(self) -> bool:
        """Open the store and put everything together; False if the store cannot be used."""
        settings = self._settings
        clock = Clock()
        config = await self._reloader.config()
        monitor = Monitor(config, clock=clock, self_sources=[ProcessMetrics().render])
        try:
            with made_to_stay():
                await monitor.open()
        except StoreRefusedError as error:
            log.error("the store %s cannot be used: %s", without_credentials(settings.store_url), error)
            return False
        _tell_of_itself(monitor)
        # Two of each server, and those of whoever asks on either port: none may keep us from the others.
        allow_open_files(settings.config.push.max_clients, 2 * len(config.servers) + 2 * MOST_CONNECTIONS)
        push = PushService(monitor, settings.config.push, settings.external_url, held=True)
        webhooks = _webhooks(settings.config, monitor)
        alerts = AlertInbox(monitor, push.hub, clock)
        await alerts.open()
        gpus = GpuMetrics(monitor.metrics)
        page = LivePage()
        about = About(
            settings.config.links.given,
            lambda: monitor.failure_titles,
            push.access,
            settings.telemetry_path,
            page.version,
        )
        app = self._routes(monitor, push, webhooks, alerts, page)
        about.add_to(app)
        _protect(self._web_config, push, app)
        self._servers = [WebServer(app, self._web_config), WebServer(push.app, self._web_config)]
        for close in (
            *(server.close for server in self._servers),
            push.close,
            monitor.stop,
            alerts.close,
            *(() if webhooks is None else (webhooks.close,)),
            gpus.stop,
            self._reloader.close,
        ):
            self._closing.push_async_callback(close)
        self._begin = [
            *(() if webhooks is None else (webhooks.start,)),
            monitor.start,
            lambda: self._reloader.start(_apply(monitor, about), monitor.metrics),
            push.start,
            alerts.start,
            gpus.start,
            lambda: log.info("watching", extra={"servers": ", ".join(monitor.servers)}),
        ]
        return True

    def _routes(
        self, monitor: Monitor, push: PushService, webhooks: Webhooks | None, alerts: AlertInbox, page: LivePage
    ) -> web.Application:
        settings = self._settings
        app = build_app(monitor.metrics, settings.telemetry_path, lambda: monitor.ready, self._web_config, page)
        guard = WriteGuard(settings.trusted_networks, hosts_of(settings.external_url))
        Api(
            board=monitor.board,
            history=monitor.history,
            register=monitor.register,
            kept=monitor.kept,
            token_for=push.token_for,
            access=push.access,
            guard=guard,
            check_webhook=webhooks.check if webhooks is not None and settings.config.registered_webhooks else None,
        ).add_to(app)
        alerts.add_to(app, guard)
        app.router.add_get("/ws", push.handler.__call__)
        app.router.add_get("/sd", Discovery(monitor.metrics, settings.external_url, settings.telemetry_path).__call__)
        app.router.add_post("/-/reload", Reloading(self._reloader.reload, guard).__call__)
        return app

    async def listen(self) -> bool:
        """Listen on every address; False if one cannot be had."""
        push_address = self._settings.push_listen_address
        addresses = (self._settings.web_listen_addresses, () if push_address is None else (push_address,))
        for server, wanted, service in zip(self._servers, addresses, ("metrics and API", "push"), strict=True):
            if not await _listen(server, wanted, service):
                return False
        return True

    def start(self) -> None:
        """Begin to watch and to tell."""
        for begin in self._begin:
            begin()

    async def close(self) -> None:
        """Close what was opened."""
        await self._closing.aclose()


async def _can_be_used(web_config: WebConfig) -> bool:
    try:
        await web_config.reload()
    except (ConfigError, OSError, ValueError) as error:
        # It was fine a moment ago. To serve in the clear what was to be protected would be worse than not to serve.
        log.error("--web.config.file cannot be used: %s", error)
        return False
    return True


def _protect(web_config: WebConfig, push: PushService, app: web.Application) -> None:
    """Has one gate stand before all routes of both ports; those that are added later have it before them too."""
    gate = Gate(web_config, push.access)
    gate.add_to(app)
    gate.add_to(push.app, sockets=SOCKETS)
    add_headers(push.app, web_config)


async def _listen(server: WebServer, addresses: Sequence[Address], service: str) -> bool:
    for host, port in addresses:
        try:
            _, bound = await server.listen(host, port)
        except OSError as error:
            log.error("cannot listen on %s:%s: %s", host, port, error.strerror or error)
            return False
        log.info("listening", extra={"address": f"{host}:{bound}", "service": service})
    return True


def _apply(monitor: Monitor, about: About) -> Apply:
    """Make what goes by another configuration."""

    async def apply(config: Config) -> Sequence[str]:
        about.links = config.links.given
        return await monitor.reconfigure(config)

    return apply


def _webhooks(config: Config, monitor: Monitor) -> Webhooks | None:
    if not config.webhooks and config.registered_webhooks is None:
        return None
    # Whoever has none waits for none of it at the start.
    from comfyui_exporter.webhooks.service import Webhooks  # noqa: PLC0415

    outbox = None if monitor.keeper is None else monitor.keeper.outbox()
    return Webhooks(config, monitor.board, monitor.metrics, outbox)


def _tell_of_itself(monitor: Monitor) -> None:
    monitor.metrics.set(families.BUILD_INFO, None, (__version__, platform.python_version()), 1)
