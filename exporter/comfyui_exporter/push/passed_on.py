"""Questions that a relay's clients ask, answered by its upstream."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from comfyui_exporter.push.ports import Unavailable

TIMEOUT = 5.0
"""Seconds after which a question counts as unanswered."""

_AT_ONCE = 32
"""Questions under way: half of what an upstream takes from a relay; the others wait here, within their time."""


class _Reply(msgspec.Struct):
    type: str = ""
    id: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw(b"null")
    error: dict[str, Any] | None = None


class PassedOn:
    """`Answers` of somebody else: asked with numbers of our own, so that the clients' ids need not be unique."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._number = 0
        self._pending: dict[bytes, asyncio.Future[msgspec.Raw]] = {}
        self._outgoing: asyncio.Queue[bytes] | None = None
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def job_progress(self, *, job_id: str | None, prompt_id: str | None) -> object:
        """Ask for a job."""
        given = {"job_id": job_id, "prompt_id": prompt_id}
        return await self._ask("get_job_progress", {key: value for key, value in given.items() if value is not None})

    async def queue_statistics(self) -> object:
        """Ask for the statistics."""
        return await self._ask("get_queue_statistics", {})

    def connected(self) -> asyncio.Queue[bytes]:
        """Begin to ask; what is to be sent comes out of the queue."""
        self._outgoing = asyncio.Queue()
        return self._outgoing

    def disconnected(self) -> None:
        """Nobody is there to answer any more."""
        self._outgoing = None
        for future in self._pending.values():
            if not future.done():
                future.set_exception(Unavailable("the upstream went away"))

    def take(self, text: bytes) -> bool:
        """Take a message of the upstream if it is an answer; whether it is.

        Raises:
            msgspec.MsgspecError: it is not a message of a push service.

        """
        reply = msgspec.json.decode(text, type=_Reply)
        if reply.type not in {"job_progress", "queue_statistics", "error"}:
            return False
        future = self._pending.get(bytes(reply.id))
        if future is None or future.done():
            return True
        if reply.type == "error":
            words = str((reply.error or {}).get("message", "no reason given"))[:200]
            future.set_exception(Unavailable(f"the upstream could not answer: {words}"))
        else:
            # A copy: the original refers to the whole message.
            future.set_result(msgspec.Raw(bytes(reply.data)))
        return True

    async def _ask(self, kind: str, what: dict[str, str]) -> msgspec.Raw:
        try:
            async with asyncio.timeout(self._timeout), self._turns:
                return await self._one(kind, what)
        except TimeoutError:
            raise Unavailable("the upstream did not answer in time") from None

    async def _one(self, kind: str, what: dict[str, str]) -> msgspec.Raw:
        if self._outgoing is None:
            raise Unavailable("the upstream is away")
        self._number += 1
        number = self._number
        future = asyncio.get_running_loop().create_future()
        self._pending[b"%d" % number] = future
        try:
            self._outgoing.put_nowait(msgspec.json.encode({"type": kind, **what, "id": number}))
            answer: msgspec.Raw = await future
        finally:
            del self._pending[b"%d" % number]
        return answer
