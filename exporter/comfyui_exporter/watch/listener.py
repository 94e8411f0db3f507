"""The event stream of one ComfyUI: kept open, and heard for what it says of the queue."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random

import aiohttp

from comfyui_exporter.comfyui.errors import ErrorKind, ReadError
from comfyui_exporter.comfyui.events import EVENT_TYPES, OtherEvent, StatusEvent, read_frame
from comfyui_exporter.comfyui.json import PayloadError
from comfyui_exporter.tracker.observations import Event, EventsMissed
from comfyui_exporter.watch.backoff import Backoff
from comfyui_exporter.watch.signals import Signals
from comfyui_exporter.watch.source import Connector

HEARTBEAT = 20.0
"""Seconds between pings of the socket: a frozen server closes nothing, an unanswered ping is the only sign."""

_FIRST_WAIT = 1.0
_LASTING = 10.0
"""Seconds after which a stream counts as stable, and earlier failures are forgotten."""


class Listener:
    """Listens until cancelled.

    `event` is told what jobs do, `heard` (type of event, bytes) of every frame, `problem` what could not be used.
    """

    def __init__(
        self,
        client: Connector,
        signals: Signals,
        now: Callable[[], float],
        rng: Random,
        *,
        client_id: str,
        event: Callable[[Event], None],
        heard: Callable[[str, int], None],
        problem: Callable[[str, str], None],
        log: logging.LoggerAdapter[logging.Logger],
    ) -> None:
        self._client = client
        self._signals = signals
        self._now = now
        self._rng = rng
        self._prefix = f"comfyui-exporter-{client_id}-" if client_id else "comfyui-exporter-"
        self._event = event
        self._heard = heard
        self._problem = problem
        self._log = log
        self._told_of_failure = False

    async def run(self) -> None:
        """Keep a stream open."""
        backoff = Backoff(_FIRST_WAIT, self._rng)
        while True:
            opened: float | None = None
            try:
                # A second socket of one clientId deafens the first, so each connection has an id of its own.
                client_id = f"{self._prefix}{self._rng.getrandbits(64):016x}"
                async with self._client.socket(client_id, HEARTBEAT) as socket:
                    opened = self._now()
                    self._told_of_failure = False
                    self._event(EventsMissed(opened))
                    self._signals.opened()
                    async for message in socket:
                        self._hear(message)
                    self._log.info("event stream closed (code %s)", socket.close_code)
            except ReadError as error:
                if error.kind is ErrorKind.CONNECTION:
                    self._signals.connection_broke(refused=error.refused)
                # Once is enough: a proxy that lets no socket through never will.
                level = logging.DEBUG if self._told_of_failure else logging.INFO
                self._log.log(level, "no event stream, polling alone: %s", error)
                self._told_of_failure = True
            except aiohttp.ClientError as error:
                self._log.info("event stream broke: %s", error)
            except Exception:
                self._log.exception("unexpected error in the event stream")
            finally:
                self._signals.closed()
            if opened is not None and self._now() - opened >= _LASTING:
                backoff.reset()
            await asyncio.sleep(backoff.failed())

    def _hear(self, message: aiohttp.WSMessage) -> None:
        if message.type is aiohttp.WSMsgType.BINARY:
            self._heard("binary", len(message.data))
            return
        if message.type is not aiohttp.WSMsgType.TEXT:
            return
        size = len(message.data)
        try:
            kind, event = read_frame(message.data, self._now())
        except PayloadError as error:
            self._problem("/ws", str(error))
            self._heard("malformed", size)
            return
        self._heard(kind if kind in EVENT_TYPES else "other", size)
        if isinstance(event, StatusEvent):
            self._signals.heard(event.queue_remaining)
        elif not isinstance(event, OtherEvent):
            self._event(event)
