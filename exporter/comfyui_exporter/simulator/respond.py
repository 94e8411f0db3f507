"""Delivering an answer to a client, or failing to, and telling the ledger only of what arrived."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from comfyui_exporter.simulator.answer import HANDLER_ERRORS, TROUBLE, Answer, ComfyUIDownError
from comfyui_exporter.simulator.comfy import ComfyUI
from comfyui_exporter.simulator.faults import Fault, Faults, never, wrong_shape
from comfyui_exporter.simulator.simtime import SimTime

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Responder:
    """Wraps the makers of answers with faults, the request log and receipts."""

    comfy: ComfyUI
    faults: Faults
    time: SimTime

    def handler(self, route: str, make: Callable[[web.Request], Awaitable[Answer]]) -> Handler:
        """A handler of aiohttp for the answers of one route."""

        async def handle(request: web.Request) -> web.StreamResponse:
            fault = self.faults.meet(route)
            await self._before(request, fault)
            try:
                answer = await make(request)
            except ComfyUIDownError:
                _abort(request)
                return web.Response()
            except HANDLER_ERRORS:
                answer = Answer(500, TROUBLE, self.comfy.ledger.receipt())
            return await self._deliver(request, route, answer, fault)

        return handle

    def socket_handler(self, serve: Handler) -> Handler:
        """A handler for WebSockets: `error` refuses the handshake, `cut` ends the connection right after it."""

        async def handle(request: web.Request) -> web.StreamResponse:
            fault = self.faults.meet("ws")
            await self._before(request, fault)
            if fault is not None and fault.kind in {"error", "garbage", "wrong_shape"}:
                return web.Response(status=500, text=TROUBLE)
            if fault is not None and fault.kind == "cut":
                cut = web.WebSocketResponse()
                await cut.prepare(request)
                _abort(request)
                return cut
            self.comfy.ledger.requested("ws", 0)
            return await serve(request)

        return handle

    async def _before(self, request: web.Request, fault: Fault | None) -> None:
        if fault is None:
            return
        if fault.kind == "slow":
            await self.time.sleep(fault.delay_ms / 1000)
        elif fault.kind == "hang":
            await never()
        elif fault.kind == "refuse":
            _abort(request)
            await never()

    async def _deliver(
        self, request: web.Request, route: str, answer: Answer, fault: Fault | None
    ) -> web.StreamResponse:
        text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        status, is_json, whole = answer.status, not isinstance(answer.body, str), True
        if fault is not None and fault.kind in {"error", "garbage", "wrong_shape", "cut"}:
            whole = False
            if fault.kind == "error":
                status, text, is_json = 500, TROUBLE, False
            elif fault.kind == "garbage":
                text, is_json = text[: len(text) // 2] + '{"', True
            elif fault.kind == "wrong_shape":
                text, is_json = wrong_shape(self.comfy.rng), True
        encoded = text.encode()
        self.comfy.ledger.requested(route, len(encoded))
        if fault is not None and fault.kind == "cut":
            return await _cut(request, encoded)
        response = web.Response(
            status=status,
            body=encoded,
            content_type="application/json" if is_json else "text/plain",
            charset="utf-8",
        )
        try:
            await self._write(request, response)
        except ConnectionError:
            return response  # the client is gone, or was killed
        if whole and _is_open(request):
            answer.delivered()
        return response

    async def _write(self, request: web.Request, response: web.Response) -> None:
        if request.transport is not None:
            # With no room in the buffer a write is over only when the system has taken all of it, and a client that
            # gave up in the middle of a long answer was not shown it.
            request.transport.set_write_buffer_limits(high=0)
        await response.prepare(request)
        await response.write_eof()


def _is_open(request: web.Request) -> bool:
    return request.transport is not None and not request.transport.is_closing()


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _cut(request: web.Request, encoded: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(encoded))})
    await response.prepare(request)
    await response.write(encoded[: len(encoded) // 2])
    _abort(request)
    return response
