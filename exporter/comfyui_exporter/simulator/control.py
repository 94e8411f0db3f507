"""The simulator's own routes, by which a test or a person makes things happen and reads the ledger."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from aiohttp import web

from comfyui_exporter.simulator.expectation import report
from comfyui_exporter.simulator.faults import Faults, fault_arguments
from comfyui_exporter.simulator.ledger import Ledger
from comfyui_exporter.simulator.traffic import Traffic

_MAX_BODY = 100 << 20
"""As ComfyUI's limit, because its routes share the application."""


class Controlled(Protocol):
    """What the routes act on."""

    @property
    def ledger(self) -> Ledger:
        """Read by GET /simulator/ledger."""

    @property
    def faults(self) -> Faults:
        """Changed by /simulator/faults."""

    @property
    def traffic(self) -> Traffic:
        """Changed by POST /simulator/traffic."""

    def take_memory(self, gigabytes: float) -> None:
        """Let another program hold so much of the GPU's memory."""

    def crash_soon(self, down_ms: float) -> None:
        """Die, after the answer to this request was sent, and come back."""


def add_control_routes(app: web.Application, simulation: Controlled) -> None:
    """Register /simulator/...; none of it enters the ledger's request log."""
    routes = _Control(simulation)
    app.router.add_get("/simulator/ledger", routes.ledger)
    app.router.add_get("/simulator/faults", routes.list_faults)
    app.router.add_post("/simulator/faults", _checked(routes.add_faults))
    app.router.add_delete("/simulator/faults", routes.clear_faults)
    app.router.add_post("/simulator/crash", _checked(routes.crash))
    app.router.add_post("/simulator/restart", _checked(routes.restart))
    app.router.add_post("/simulator/memory", _checked(routes.memory))
    app.router.add_post("/simulator/traffic", _checked(routes.traffic))


def _checked(
    act: Callable[[Any], Mapping[str, Any]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """A handler that reads JSON (nothing counts as `{}`), and answers 400 with what is wrong with it."""

    async def handle(request: web.Request) -> web.Response:
        text = await request.text()
        try:
            return web.json_response(act(json.loads(text) if text.strip() else {}))
        except (ValueError, TypeError, AttributeError) as error:
            return web.json_response({"error": str(error)}, status=400)

    return handle


class _Control:
    def __init__(self, simulation: Controlled) -> None:
        self._simulation = simulation

    async def ledger(self, _: web.Request) -> web.Response:
        return web.json_response(report(self._simulation.ledger))

    async def list_faults(self, _: web.Request) -> web.Response:
        return web.json_response({"faults": self._simulation.faults.as_json()})

    def add_faults(self, body: Any) -> Mapping[str, Any]:
        arguments = [fault_arguments(fault) for fault in (body if isinstance(body, list) else [body])]
        for fault in arguments:
            self._simulation.faults.add(**fault)
        return {"faults": self._simulation.faults.as_json()}

    async def clear_faults(self, request: web.Request) -> web.Response:
        self._simulation.faults.clear(request.query.get("route"))
        return await self.list_faults(request)

    def crash(self, body: Any) -> Mapping[str, Any]:
        down_ms = float(body.get("down_ms", 1000))
        self._simulation.crash_soon(down_ms)
        return {"down_ms": down_ms}

    def restart(self, _: Any) -> Mapping[str, Any]:
        self._simulation.crash_soon(0)
        return {"down_ms": 0}

    def memory(self, body: Any) -> Mapping[str, Any]:
        taken = float(body.get("taken_gigabytes", 0))
        self._simulation.take_memory(taken)
        return {"taken_gigabytes": taken}

    def traffic(self, body: Any) -> Mapping[str, Any]:
        traffic = self._simulation.traffic
        if "rate" in body:
            traffic.rate = float(body["rate"])
        if "failure_rate" in body:
            traffic.failure_rate = float(body["failure_rate"])
        return {"rate": traffic.rate, "failure_rate": traffic.failure_rate}
