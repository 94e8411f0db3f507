"""`comfyui-exporter relay`: the push service alone, fed by the socket of another one."""

from __future__ import annotations

import asyncio
import base64
import logging
import platform
import signal
import ssl
from collections.abc import Awaitable, Callable, Mapping
from random import Random

from aiohttp import web

from comfyui_exporter import __version__
from comfyui_exporter.access import tls_of
from comfyui_exporter.config.errors import ConfigError
from comfyui_exporter.config.relay import RelaySettings
from comfyui_exporter.config.secret_files import read_secret, read_user_and_password
from comfyui_exporter.config.servers import TlsConfig
from comfyui_exporter.config.web_config import load_web_config
from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.process import ProcessMetrics
from comfyui_exporter.metrics.push import PushCounts
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.push.access import Access
from comfyui_exporter.push.handler import SOCKETS, build_push_app
from comfyui_exporter.push.hub import HEARTBEAT, Hub
from comfyui_exporter.push.mirror import Mirror
from comfyui_exporter.push.open_files import allow_open_files
from comfyui_exporter.push.passed_on import PassedOn
from comfyui_exporter.push.tokens import TokenFile
from comfyui_exporter.push.upstream import Upstream, Waits
from comfyui_exporter.watch.backoff import Backoff
from comfyui_exporter.web.auth import Gate
from comfyui_exporter.web.crowd import MOST_CONNECTIONS
from comfyui_exporter.web.headers import add_headers
from comfyui_exporter.web.metrics import MetricsHandler
from comfyui_exporter.web.server import WebServer
from comfyui_exporter.web.web_config import WebConfig

log = logging.getLogger("comfyui_exporter")

FINE, FAILED, UNUSABLE = 0, 1, 2
"""Exit codes: ended by a signal; could not go on; the settings can't be used."""

_FIRST_WAIT = 1.0


class Relay:
    """The hub of a relay with the socket to its upstream, from `start` to `stop`.

    Serves nobody before the first snapshot is complete: clients that connect earlier wait for theirs. `headers` and
    `tls` are those of a connection to the upstream, `waits` says how long to wait between tries, `heartbeat` is that
    of clients.
    """

    def __init__(
        self,
        upstream: str,
        *,
        headers: Callable[[], Awaitable[Mapping[str, str]]],
        tls: Callable[[], Awaitable[ssl.SSLContext | bool]] | None = None,
        queue_size: int,
        max_clients: int,
        waits: Waits | None = None,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self.metrics = MetricStore(self_sources=[ProcessMetrics().render])
        self.metrics.set(families.BUILD_INFO, None, (__version__, platform.python_version()), 1)
        self.metrics.set(families.RELAY_UPSTREAM_CONNECTED, None, (), 0)
        self.metrics.touch(families.RELAY_UPSTREAM_RECONNECTS, None)
        self.ready = False
        """Whether a snapshot was complete once."""
        questions = PassedOn()
        self.hub = Hub(
            answers=questions,
            queue_size=queue_size,
            max_clients=max_clients,
            counts=PushCounts(self.metrics),
            heartbeat=heartbeat,
            held=True,
        )
        self._upstream = Upstream(
            upstream,
            mirror=Mirror(self.hub),
            questions=questions,
            watcher=self,
            headers=headers,
            tls=tls,
            waits=waits or Backoff(_FIRST_WAIT, Random()),  # noqa: S311  jitter, no secret
        )
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow the upstream; needs a running loop."""
        self._task = asyncio.create_task(self._upstream.run(), name="upstream")

    async def stop(self) -> None:
        """Leave the upstream."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def connected(self, again: bool) -> None:
        """The upstream is there."""
        self.metrics.set(families.RELAY_UPSTREAM_CONNECTED, None, (), 1)
        if again:
            self.metrics.inc(families.RELAY_UPSTREAM_RECONNECTS, None)

    def disconnected(self) -> None:
        """The upstream is away; what it said last goes on to be served."""
        self.metrics.set(families.RELAY_UPSTREAM_CONNECTED, None, (), 0)

    def complete(self) -> None:
        """All that the upstream knows is known here."""
        if not self.ready:
            self.ready = True
            self.hub.release()
        log.info("relaying", extra={"jobs": len(self.hub.state.jobs), "clients": self.hub.clients})


def build_relay_app(relay: Relay, access: Access, config: WebConfig | None = None) -> web.Application:
    """Make the application of a relay's one port, with the protection of a web config."""

    async def is_ready(_: web.Request) -> web.Response:
        if relay.ready:
            return web.Response(text="comfyui-exporter relay is ready.\n")
        return web.Response(status=503, text="comfyui-exporter relay is not ready: the upstream told nothing yet.\n")

    app = build_push_app(relay.hub, access)
    app.router.add_get("/-/ready", is_ready)
    app.router.add_get("/metrics", MetricsHandler(relay.metrics).__call__)
    config = config or WebConfig()
    add_headers(app, config)
    Gate(config, access).add_to(app, sockets=SOCKETS)
    return app


def run_relay(settings: RelaySettings) -> int:
    """Relay until SIGTERM or SIGINT; the exit code."""
    return asyncio.run(_run(settings))


async def _run(settings: RelaySettings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    web_config = WebConfig(settings.web_config_file, load_web_config)
    try:
        await web_config.reload()
    except (ConfigError, OSError, ValueError) as error:
        log.error("--web.config.file cannot be used: %s", error)
        return UNUSABLE
    reloads = set[asyncio.Task[None]]()

    def reload() -> None:
        task = asyncio.create_task(_reload(web_config), name="reload")
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    allow_open_files(settings.max_clients, MOST_CONNECTIONS)
    relay = Relay(
        settings.upstream,
        headers=lambda: asyncio.to_thread(_headers, settings),
        tls=lambda: asyncio.to_thread(_tls, settings),
        queue_size=settings.queue_size,
        max_clients=settings.max_clients,
    )
    token = TokenFile(settings.token_file, read_secret) if settings.token_file is not None else None
    access = Access(allowed_origins=settings.allowed_origins, token=token)
    server = WebServer(build_relay_app(relay, access, web_config), web_config)
    host, port = settings.listen_address
    try:
        try:
            _, bound = await server.listen(host, port)
        except OSError as error:
            log.error("cannot listen on %s:%s: %s", host, port, error.strerror or error)
            return FAILED
        log.info("listening", extra={"address": f"{host}:{bound}", "upstream": settings.upstream})
        relay.start()
        await stop.wait()
        log.info("stopping")
    finally:
        await relay.stop()
        await server.close()
    return FINE


async def _reload(web_config: WebConfig) -> None:
    """Read the web config now. Tokens and what the upstream asks for are read anew whenever they are needed."""
    try:
        await web_config.reload()
    except (ConfigError, OSError, ValueError) as error:
        for line in str(error).splitlines():
            log.error("reloading failed, everything stays as it was: %s", line)
    else:
        log.info("reloaded")


def _headers(settings: RelaySettings) -> Mapping[str, str]:
    """Those of a connection; files are read for each, so that a changed secret needs no restart."""
    if settings.upstream_token_file is not None:
        return {"Authorization": f"Bearer {read_secret(settings.upstream_token_file)}"}
    if settings.upstream_basic_auth_file is not None:
        user, password = read_user_and_password(settings.upstream_basic_auth_file)
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
    return {}


def _tls(settings: RelaySettings) -> ssl.SSLContext | bool:
    if settings.upstream_ca_file is None and settings.upstream_cert_file is None:
        return True
    return tls_of(
        TlsConfig(
            ca_file=settings.upstream_ca_file,
            cert_file=settings.upstream_cert_file,
            key_file=settings.upstream_key_file,
        )
    )
