"""Hostile clients of the push service: messages and frames, as bytes from a socket that is none."""

from __future__ import annotations

import asyncio
import json
import struct
from random import Random
from typing import Any, cast

from comfyui_exporter.cli.logs import LogfmtFormatter
from comfyui_exporter.push.client import Client
from comfyui_exporter.push.frames import CLOSE, PONG, TEXT
from comfyui_exporter.push.hub import Hub
from hostile import seeds
from hostile.mutate import Mutator
from hostile.tally import Tally, overhearing

_ANSWERS = frozenset({"pong", "subscribed", "job_progress", "queue_statistics"})


def masked(payload: bytes, rng: Random, first: int = 0x81) -> bytes:
    """A frame of a client."""
    size = len(payload)
    mask = rng.randbytes(4)
    head = bytes([first]) + (
        bytes([0x80 | size])
        if size < 126
        else struct.pack("!BH", 0xFE, size)
        if size < 65_536
        else struct.pack("!BQ", 0xFF, size)
    )
    repeated = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ repeated).to_bytes(size, "big")


class _NoSocket(asyncio.Transport):
    """Takes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.over = False
        self.protocol: Any = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.over = True

    def close(self) -> None:
        self.over = True

    abort = close

    def frames(self) -> list[tuple[int, bytes]]:
        """Take the frames that were written since the last time."""
        found, data, at = [], bytes(self.written), 0
        self.written.clear()
        while at < len(data):
            size, begin = data[at + 1], at + 2
            if size == 126:
                size, begin = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                size, begin = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            found.append((data[at] & 15, data[begin : begin + size]))
            at = begin + size
        return found


class Pushing:
    """Feeds a hub. Each input is answered, refused, or ends its socket; half a message waits for the rest."""

    def __init__(self, hub: Hub, seed: int) -> None:
        self.rng = Random(seed)
        self.mutator = Mutator(self.rng)
        self.tally = Tally("push client messages")
        self._hub = hub
        self._now = 0.0
        hub.now = lambda: self._now

    async def run(self, inputs: int) -> None:
        """Feed so many."""
        with overhearing(LogfmtFormatter()) as overheard:
            for _ in range(inputs):
                await self._feed()
                for told in overheard.take_defects():
                    self.tally.complain(f"logged: {told}")
        if self._client is not None:
            self._part(self._client)

    _client: tuple[_NoSocket, Client] | None = None

    def _connect(self) -> tuple[_NoSocket, Client]:
        transport = _NoSocket()
        self._hub.accept(cast("asyncio.Transport", transport))
        return transport, transport.protocol

    async def _feed(self) -> None:
        rng = self.rng
        self._now += 1.0
        if self._client is None:
            self._client = self._connect()
            await self._turns(self._client[0], b"snapshot_end")
        transport, client = self._client
        transport.written.clear()
        given, asks = self._input()
        with self.tally.input(given):
            for piece in self._pieces(given):
                client._receive(piece)
            said = await self._turns(transport, b"{" if asks and not client.closing else None)
            outcome = self._outcome(said, transport, client)
        if outcome is not None:
            self.tally.count(outcome)
        if transport.over or client.closing or not asks or rng.random() < 0.01:
            self._part(self._client)
            self._client = None

    def _input(self) -> tuple[bytes, bool]:
        """What comes from the socket, and whether it is one whole message."""
        rng = self.rng
        draw = rng.random()
        message = self.mutator.json(rng.choice(seeds.REQUESTS))
        if draw < 0.75 and len(message) <= 65_536:
            return masked(message, rng), True
        if draw < 0.80:
            return masked(message[:125], rng, rng.choice((0x82, 0x88, 0x89, 0x8A))), False
        if draw < 0.85:
            return masked(message, rng, rng.randrange(256)), False
        if draw < 0.90:
            return rng.randbytes(rng.choice((1, 2, 10, 200))), False
        return self.mutator.spoiled(masked(message, rng)), False

    def _pieces(self, given: bytes) -> list[bytes]:
        if self.rng.random() < 0.9:
            return [given]
        at = self.rng.randrange(len(given) + 1)
        return [given[:at], given[at:]]

    async def _turns(self, transport: _NoSocket, awaited: bytes | None) -> list[tuple[int, bytes]]:
        """Let the hub have its turns, until something was said that is awaited."""
        for _ in range(50 if awaited else 2):
            await asyncio.sleep(0)
            if awaited and (awaited in transport.written or transport.over):
                break
        return transport.frames()

    def _outcome(self, said: list[tuple[int, bytes]], transport: _NoSocket, client: Client) -> str | None:
        kinds = []
        for opcode, payload in said:
            if opcode == TEXT:
                message = json.loads(payload)
                assert isinstance(message, dict)
                kinds.append("refused" if message["type"] == "error" else message["type"])
                assert message["type"] != "error" or message["error"]["code"] != "internal", message
                assert len(payload) < 70_000
            elif opcode == CLOSE:
                kinds.append("closed")
            elif opcode == PONG:
                kinds.append("pong")
        if "closed" in kinds or transport.over:
            return "closed"
        if "refused" in kinds:
            return "refused"
        if _ANSWERS.intersection(kinds):
            return "accepted as valid"
        rest = client._reader._rest, client._reader._fragments
        return "waits for its rest" if any(part is not None for part in rest) else "passed over (pong)"

    def _part(self, joined: tuple[_NoSocket, Client]) -> None:
        joined[1].connection_lost(None)
