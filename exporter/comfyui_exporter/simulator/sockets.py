"""The WebSocket clients of a simulated ComfyUI: who is connected under which name, and who hears which event.

Behaviour as in the `/ws` handler and `send_json` of ComfyUI's server.py (0.3.64), its faults included.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterable
from contextlib import suppress
from random import Random
from typing import Any

from aiohttp import WSMsgType, web

from comfyui_exporter.simulator.bridge import forwarded, is_exporter
from comfyui_exporter.simulator.comfy import ComfyUI
from comfyui_exporter.simulator.execution import PREVIEW, PREVIEW_WITH_METADATA
from comfyui_exporter.simulator.preview import frame_with_metadata, plain_frame
from comfyui_exporter.simulator.system import features


class Socket:
    """One connection. Frames wait in an outbox, so that one slow client does not hold up the others."""

    def __init__(self, ws: web.WebSocketResponse, request: web.Request) -> None:
        self.supports_preview_metadata = False
        self._ws = ws
        self._request = request
        self._outbox: asyncio.Queue[str | bytes] = asyncio.Queue()

    def send(self, frame: str | bytes) -> None:
        """Send in order, when the client takes it."""
        self._outbox.put_nowait(frame)

    async def write(self) -> None:
        """Write the outbox to the client until the connection ends."""
        with suppress(ConnectionError):
            while True:
                frame = await self._outbox.get()
                if isinstance(frame, str):
                    await self._ws.send_str(frame)
                else:
                    await self._ws.send_bytes(frame)

    def abort(self) -> None:
        """End the connection as a dying process does: without a close frame, so that the client sees 1006."""
        if self._request.transport is not None:
            self._request.transport.abort()


class Sockets:
    """All connections, and the register by client id that decides who hears what.

    Args:
        comfy: Whose events they hear.
        rng: Source of the ids of clients that have none.
        bridge: Exporters hear of the jobs of others too, as with the extension `comfyui_bridge`.
    """

    def __init__(self, comfy: ComfyUI, rng: Random, *, bridge: bool = False) -> None:
        self._comfy = comfy
        self._rng = rng
        self._bridge = bridge
        self._register: dict[str, Socket] = {}
        self._open: set[Socket] = set()

    @property
    def connections(self) -> frozenset[Socket]:
        """All that are open, those that hear nothing among them."""
        return frozenset(self._open)

    def dispatch(self, event: str, data: Any, recipient: Any) -> None:
        """Send an event of ComfyUI to its recipient, or to every socket in the register."""
        if recipient is None:
            hearers: Iterable[Socket] = list(self._register.values())
            self._note_heard(data)
        else:
            hearers = [self._register[recipient]] if recipient in self._register else []
        for frame in self._frames(event, data, recipient):
            for socket in hearers:
                socket.send(frame)
        if self._bridge and recipient is not None and not is_exporter(recipient):
            self._forward(event, data)

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """The life of one connection."""
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        socket = Socket(ws, request)
        # A client that comes with the id of another takes its place; the other stays open and hears nothing any more.
        client_id = request.query.get("clientId", "") or uuid.UUID(int=self._rng.getrandbits(128), version=4).hex
        self._register[client_id] = socket
        self._open.add(socket)
        writer = asyncio.create_task(socket.write())
        try:
            self._greet(client_id)
            await self._listen(ws, client_id)
        finally:
            writer.cancel()
            self._open.discard(socket)
            # By id, not by connection: so a client that leaves late takes the entry of its successor with it.
            self._register.pop(client_id, None)
        return ws

    def abort_all(self) -> None:
        """The process dies: every connection ends at once."""
        for socket in list(self._open):
            socket.abort()
        self._open.clear()
        self._register.clear()

    def _forward(self, event: str, data: Any) -> None:
        exporters = [socket for client_id, socket in self._register.items() if is_exporter(client_id)]
        told = forwarded(event, data)
        if exporters and told is not None:
            self._note_heard(told)
            for socket in exporters:
                socket.send(_text(event, told))

    def _greet(self, client_id: str) -> None:
        socket = self._register[client_id]
        status = {"exec_info": {"queue_remaining": self._comfy.queue_remaining}}
        socket.send(_text("status", {"status": status, "sid": client_id}))
        execution = self._comfy.execution
        if execution is not None and execution.client_id == client_id and execution.last_node_id is not None:
            socket.send(_text("executing", {"node": execution.last_node_id}))

    async def _listen(self, ws: web.WebSocketResponse, client_id: str) -> None:
        first = True
        async for message in ws:
            if message.type is not WSMsgType.TEXT:
                continue
            try:
                data = json.loads(message.data)
                if first and data.get("type") == "feature_flags":
                    self._negotiate(client_id, data.get("data", {}))
            except (ValueError, AttributeError):
                # ComfyUI logs what it cannot read and goes on; the next message is then still the first one.
                continue
            first = False

    def _negotiate(self, client_id: str, flags: dict[str, Any]) -> None:
        socket = self._register.get(client_id)
        if socket is not None:
            socket.supports_preview_metadata = flags.get("supports_preview_metadata") is True
            socket.send(_text("feature_flags", features(self._comfy.profile)))

    def _frames(self, event: str, data: Any, recipient: Any) -> list[str | bytes]:
        if event not in {PREVIEW, PREVIEW_WITH_METADATA}:
            return [_text(event, data)]
        socket = self._register.get(recipient) if recipient is not None else None
        with_metadata = socket is not None and socket.supports_preview_metadata
        if event == PREVIEW:
            return [] if with_metadata else [plain_frame()]
        return [frame_with_metadata(data)] if with_metadata else []

    def _note_heard(self, data: Any) -> None:
        execution = self._comfy.execution
        if self._register and execution is not None and isinstance(data, dict) and "prompt_id" in data:
            self._comfy.ledger.heard(execution.item.run)


def _text(event: str, data: Any) -> str:
    return json.dumps({"type": event, "data": data})
