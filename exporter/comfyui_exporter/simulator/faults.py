"""What can go wrong between a simulated ComfyUI and its clients, on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Literal, get_args

FaultKind = Literal["slow", "hang", "error", "garbage", "wrong_shape", "cut", "refuse"]
"""slow: the answer comes later. hang: it never comes. error: 500, plain text. garbage: 200 with a body that is no JSON.
wrong_shape: 200 with JSON of another shape. cut: the connection ends in the middle of the body. refuse: it ends before
an answer."""

EVERY_ROUTE = "*"


@dataclass(slots=True)
class Fault:
    """A fault of one route."""

    route: str
    """Its name in the request log, such as `queue` or `history_one`, or `*`."""
    kind: FaultKind
    probability: float = 1.0
    """Of each request to meet it."""
    count: int | None = None
    """How many requests meet it before it is over; None: it stays."""
    delay_ms: float = 1000.0
    """How long `slow` takes, in the simulator's time."""


class Faults:
    """The faults that are on, asked by the server for every request."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._faults: list[Fault] = []

    def add(
        self,
        route: str,
        kind: FaultKind,
        *,
        probability: float = 1.0,
        count: int | None = None,
        delay_ms: float = 1000.0,
    ) -> Fault:
        """Turn a fault on; see `Fault` for what the arguments mean."""
        fault = Fault(route, kind, probability, count, delay_ms)
        self._faults.append(fault)
        return fault

    def clear(self, route: str | None = None) -> None:
        """Turn off the faults of a route, or all."""
        self._faults = [fault for fault in self._faults if route is not None and fault.route != route]

    def meet(self, route: str) -> Fault | None:
        """The fault that this request meets, which thereby counts as met; the first one that applies."""
        for fault in self._faults:
            if fault.route in {route, EVERY_ROUTE} and self._rng.random() < fault.probability:
                if fault.count is not None:
                    fault.count -= 1
                    if fault.count <= 0:
                        self._faults.remove(fault)
                return fault
        return None

    def as_json(self) -> list[dict[str, Any]]:
        """The faults that are on."""
        return [asdict(fault) for fault in self._faults]


def fault_arguments(body: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Faults.add` from JSON; ValueError that says what is wrong."""
    allowed = {"route", "kind", "probability", "count", "delay_ms"}
    unknown = set(body) - allowed
    if unknown:
        msg = f"unknown keys: {', '.join(sorted(unknown))}"
        raise ValueError(msg)
    if body.get("kind") not in get_args(FaultKind):
        msg = f"kind must be one of {', '.join(get_args(FaultKind))}"
        raise ValueError(msg)
    for name in ("probability", "count", "delay_ms"):
        value = body.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            msg = f"{name} must be a number"
            raise ValueError(msg)
    return {"route": EVERY_ROUTE, **body}


async def never() -> None:
    """Wait for an end from outside: the client gives up, or the process dies."""
    await asyncio.Event().wait()


def wrong_shape(rng: Random) -> str:
    """JSON that none of ComfyUI's routes answers with."""
    shapes: tuple[Any, ...] = (
        [1, "x", None],
        "queue",
        None,
        {"queue_running": 5, "queue_pending": None, "exec_info": []},
        {"exec_info": {"queue_remaining": "many"}, "system": [], "jobs": {}},
        {"00000000-0000-4000-8000-000000000000": {"prompt": 7, "status": "done", "outputs": []}},
    )
    return json.dumps(rng.choice(shapes))
