"""A ComfyUI extension that lets comfyui-exporter hear the progress of jobs that other clients submitted.

ComfyUI sends the events of a job to the socket of the client that submitted it, and to nobody else. With this folder in
`custom_nodes` the sockets whose clientId starts with `comfyui-exporter` hear them too: the execution events, without
inputs, outputs and tracebacks, and never a preview. What ComfyUI itself sends, and to whom, stays as it is.

It has no nodes, no dependency and no settings. Whatever goes wrong in it is logged once, and ComfyUI goes on.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import logging
import select
import socket
import sys
from collections import deque
from collections.abc import Coroutine, Mapping
from typing import Any

from aiohttp import ClientError, web

NODE_CLASS_MAPPINGS: dict[str, type] = {}
"""Without it ComfyUI takes the folder for a broken extension."""

PREFIX = "comfyui-exporter"
"""What the clientId of a socket that wants to hear everything starts with."""

FORWARDED: Mapping[str, tuple[str, ...] | None] = {
    "execution_start": None,
    "execution_cached": None,
    "executing": None,
    "executed": ("prompt_id", "node", "display_node"),
    "progress": None,
    "progress_state": None,
    "execution_success": None,
    "execution_error": ("prompt_id", "node_id", "node_type", "exception_type", "timestamp"),
    "execution_interrupted": ("prompt_id", "node_id", "node_type", "timestamp"),
}
"""The events that are forwarded, each with the fields that travel (None: all). What is left out may be huge, and may
hold what the submitter typed."""

WAITING_BYTES = 1 << 20
"""How much may wait for one exporter: a second of the fastest events. Beyond that the oldest is dropped; the exporter
takes events as hints and reads the truth from the history."""

PATIENCE_S = 10.0
"""How long an exporter may take nothing while something waits for it; then its connection is ended. ComfyUI waits
without limit for a socket that it broadcasts to and that takes nothing, so such a one is better gone."""

_LOOK_AGAIN_S = 0.05
"""Pause before the next look whether a connection that was backed up takes more."""

_log = logging.getLogger("comfyui_exporter_bridge")


class Bridge:
    """Forwards the addressed events of one ComfyUI.

    Args:
        server: Its PromptServer.
        patience: See `PATIENCE_S`.
    """

    def __init__(self, server: Any, patience: float = PATIENCE_S) -> None:
        self._server = server
        self._patience = patience
        self._outboxes: dict[web.WebSocketResponse, _Outbox] = {}
        self._complained = False

    def install(self) -> None:
        """Hear everything that the server sends as JSON from now on.

        Raises:
            AttributeError: this ComfyUI has no method or no sockets to hear it by.
            TypeError: it has, but of another kind.

        """
        original = self._server.send_json
        # Put in place of anything else, a coroutine function would break what calls it.
        if not inspect.iscoroutinefunction(original):
            raise TypeError("send_json is no coroutine function")
        if not isinstance(self._server.sockets, dict):
            raise TypeError("sockets is no dict")

        async def send_json(*args: Any, **kwargs: Any) -> Any:
            behind = False
            try:
                behind = self._hear(*args, **kwargs)
            except Exception as error:
                self._complain(error)
            if behind:
                # One turn of the loop, in which the writers write: an exporter takes a job for over when `status` says
                # so, and has no use for events of it that come later.
                await asyncio.sleep(0)
            return await original(*args, **kwargs)

        self._server.send_json = send_json

    def _hear(self, event: Any, data: Any, sid: Any = None, *_: Any, **__: Any) -> bool:
        """Forward what is to be forwarded, and say whether it is not, and goes to exporters that are still behind."""
        # Without a sid it is a broadcast, which an exporter hears anyhow.
        if sid is None or (isinstance(sid, str) and sid.startswith(PREFIX)):
            return any(not outbox.begun for outbox in self._outboxes.values())
        if event in FORWARDED:
            hearers = [ws for name, ws in self._server.sockets.items() if name.startswith(PREFIX)]
            # Without prompt_id it tells a client that connects where its job is; the others know.
            if hearers and isinstance(data, dict) and "prompt_id" in data:
                self._forward(event, data, hearers)
        return False

    def _forward(self, event: str, data: dict[str, Any], hearers: list[web.WebSocketResponse]) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._server.loop:
            # An extension that calls from a loop of its own; the sockets belong to ComfyUI's.
            return
        fields = FORWARDED[event]
        told = data if fields is None else {name: value for name, value in data.items() if name in fields}
        frame = json.dumps({"type": event, "data": told})
        for ws in hearers:
            self._hand_over(ws, frame, loop)

    def _hand_over(self, ws: web.WebSocketResponse, frame: str, loop: asyncio.AbstractEventLoop) -> None:
        """Leave the frame for the socket's writer: awaiting a socket here would hold up ComfyUI's."""
        outbox = self._outboxes.get(ws)
        if outbox is None:
            outbox = self._outboxes[ws] = _Outbox(frame)
            outbox.writer = _start(self._write(ws, outbox, loop), loop)
        else:
            outbox.add(frame)

    async def _write(self, ws: web.WebSocketResponse, outbox: _Outbox, loop: asyncio.AbstractEventLoop) -> None:
        # This task is never cancelled, for in aiohttp that would cancel whoever else waits for the same connection.
        outbox.begun = True
        try:
            while outbox.frames:
                end_of_patience = loop.call_later(self._patience, self._cut_off, ws)
                try:
                    while not _takes_more(ws):  # noqa: ASYNC110 - nothing tells when it does
                        await asyncio.sleep(_LOOK_AGAIN_S)
                    await ws.send_str(outbox.take())
                finally:
                    end_of_patience.cancel()
        except (ClientError, ConnectionError):
            # It left. ComfyUI takes it out of its sockets by itself.
            pass
        except Exception as error:
            self._complain(error)
        finally:
            del self._outboxes[ws]

    def _cut_off(self, ws: web.WebSocketResponse) -> None:
        _log.warning(
            "comfyui-exporter bridge: an exporter took nothing for %g s; its connection is ended", self._patience
        )
        try:
            connection = _connection(ws)
            if connection is not None:
                # Closing would first wait for all that was written to be taken.
                connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            # It ended by itself meanwhile.
            pass
        except Exception as error:
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            _log.warning(
                "comfyui-exporter bridge: an event was not forwarded; further errors are not logged", exc_info=error
            )


class _Outbox:
    """What waits for one exporter, the first frame included; it exists while there is something."""

    writer: asyncio.Task[None]
    """Kept, because the event loop holds tasks only weakly."""

    def __init__(self, frame: str) -> None:
        self.begun = False
        """Whether the writer had a turn; then what is left waits for the exporter."""
        self.frames = deque([frame])
        self._size = len(frame)

    def add(self, frame: str) -> None:
        """Let it wait in turn, and drop what is too much."""
        self.frames.append(frame)
        self._size += len(frame)
        while self._size > WAITING_BYTES and len(self.frames) > 1:
            self.take()

    def take(self) -> str:
        """The next one in turn."""
        frame = self.frames.popleft()
        self._size -= len(frame)
        return frame


def _start(writing: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
    """Begin to write; where Python can, without waiting for the loop's next turn."""
    if sys.version_info >= (3, 12):
        return asyncio.Task(writing, loop=loop, eager_start=True)
    return loop.create_task(writing)


def _takes_more(ws: web.WebSocketResponse) -> bool:
    """Whether the system's buffer of the connection has room, so that nothing piles up in this process.

    A dead connection takes more: what is sent to it fails at once. aiohttp would accept a frame at any time, but makes
    the next sender wait who comes when too much has piled up, and that may be ComfyUI.
    """
    connection = _connection(ws)
    if connection is None:
        return True
    if sys.platform == "win32":
        return bool(select.select([], [connection.fileno()], [], 0)[1])
    # Elsewhere select() cannot look at file numbers above 1023.
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLOUT)
    return bool(poll.poll(0))


def _connection(ws: web.WebSocketResponse) -> Any:
    """The system's socket below, None if it is closed."""
    try:
        connection = ws.get_extra_info("socket")
    except AttributeError:
        # Of TLS: a closed connection has lost what it would ask.
        return None
    return connection if connection is not None and connection.fileno() >= 0 else None


def install() -> None:
    """Install a bridge in the ComfyUI that loads this module, unless a copy of it has done so before."""
    try:
        # By name, for there is no such module outside of ComfyUI.
        server = importlib.import_module("server").PromptServer.instance
        if getattr(server, "comfyui_exporter_bridge", None) is not None:
            _log.info("comfyui-exporter bridge: is installed twice; this copy does nothing")
            return
        bridge = Bridge(server)
        bridge.install()
        server.comfyui_exporter_bridge = bridge
        _log.info("comfyui-exporter bridge: sockets whose clientId starts with %s hear of all jobs", PREFIX)
    except Exception as error:
        _log.warning("comfyui-exporter bridge: cannot work in this ComfyUI and does nothing", exc_info=error)


install()
