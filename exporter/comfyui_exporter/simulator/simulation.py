"""A simulated ComfyUI that listens on a port: the core, its executor, its users, and what can go wrong, in one."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from comfyui_exporter.simulator.app import ComfyRoutes
from comfyui_exporter.simulator.comfy import ComfyUI
from comfyui_exporter.simulator.control import add_control_routes
from comfyui_exporter.simulator.executor import Executor
from comfyui_exporter.simulator.expectation import report
from comfyui_exporter.simulator.faults import Faults
from comfyui_exporter.simulator.ledger import Ledger
from comfyui_exporter.simulator.preload import Users, preload_history, preload_pending
from comfyui_exporter.simulator.prompt_queue import MAXIMUM_HISTORY_SIZE
from comfyui_exporter.simulator.respond import Responder
from comfyui_exporter.simulator.server import Server
from comfyui_exporter.simulator.simtime import RealTime, SimTime
from comfyui_exporter.simulator.sockets import Sockets
from comfyui_exporter.simulator.traffic import Traffic

_MAX_UPLOAD = 100 << 20
"""ComfyUI's limit for the body of a request, in bytes."""

_EXIT_S = 1.3
"""From the end of ComfyUI's main loop to the end of its process, as recorded."""


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """What `comfyui-exporter simulate` can be told."""

    host: str = "127.0.0.1"
    port: int = 8188
    profile: str = "0.3.64"
    """Which version to be: see `profile.PROFILES`."""
    speed: float = 1.0
    """How many times faster than the simulated GPU's usual time nodes work."""
    seed: int = 0
    rate: float = 0.0
    """Submissions a minute by simulated users."""
    failure_rate: float = 0.05
    """Share of those that fail."""
    preload_history: int = 0
    """Finished prompts to start with."""
    preload_pending: int = 0
    """Waiting prompts to start with."""
    graph_bytes: int = 0
    """Size of a submission from a simulated browser; 0: without the browser's workflow."""
    bridge: bool = False
    """Have the extension `comfyui_bridge`: exporters hear of the jobs of others."""


class Simulation:
    """A running simulated ComfyUI, as an async context manager.

    Args:
        host: Address to listen on.
        port: 0: any free one, see `url`.
        profile: Which version to be: see `profile.PROFILES`.
        speed: How many times faster than the simulated GPU's usual time nodes work. ComfyUI's clock stays the wall's.
        seed: The same seed gives the same prompts, durations and failures.
        traffic_rate: Submissions a minute by simulated users.
        failure_rate: Share of those that fail.
        history: Finished prompts to start with.
        pending: Waiting prompts to start with.
        users: Whose those of the history and the waiting ones are; by default those of the traffic.
        graph_bytes: Size of a submission from a simulated browser; 0: without the browser's workflow.
        bridge: Have the extension `comfyui_bridge`: exporters hear of the jobs of others.
        time: Where waits happen and ComfyUI's clock comes from; a test may move a `ManualTime` itself.
        maximum_history_size: ComfyUI's limit, lower to see evictions.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        profile: str = "0.3.64",
        speed: float = 1.0,
        seed: int = 0,
        traffic_rate: float = 0.0,
        failure_rate: float = 0.05,
        history: int = 0,
        pending: int = 0,
        users: Users | None = None,
        graph_bytes: int = 0,
        bridge: bool = False,
        time: SimTime | None = None,
        maximum_history_size: int = MAXIMUM_HISTORY_SIZE,
    ) -> None:
        self.time = time or RealTime()
        self._preloads = (history, pending)
        self._offset_ms = 0.0
        self.comfy = ComfyUI(
            self._now_ms,
            _random(seed, "comfy"),
            profile=profile,
            maximum_history_size=maximum_history_size,
        )
        self.sockets = Sockets(self.comfy, _random(seed, "sockets"), bridge=bridge)
        self.faults = Faults(_random(seed, "faults"))
        self.executor = Executor(self.comfy, self.time, speed, self._process_exited)
        self.traffic = Traffic(
            self.comfy,
            self.executor,
            self.time,
            _random(seed, "traffic"),
            rate=traffic_rate,
            failure_rate=failure_rate,
            graph_bytes=graph_bytes,
        )
        self._users = users or self.traffic
        self._speed = speed
        self._server = Server(self._build_app(), host, port)
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    def from_options(cls, options: SimulateOptions) -> Self:
        """The simulation that `comfyui-exporter simulate` runs."""
        return cls(
            host=options.host,
            port=options.port,
            profile=options.profile,
            speed=options.speed,
            seed=options.seed,
            traffic_rate=options.rate,
            failure_rate=options.failure_rate,
            history=options.preload_history,
            pending=options.preload_pending,
            graph_bytes=options.graph_bytes,
            bridge=options.bridge,
        )

    @property
    def url(self) -> str:
        """The base URL."""
        return self._server.url

    @property
    def clients(self) -> int:
        """How many connections are open, of any kind."""
        return self._server.connections

    @property
    def ledger(self) -> Ledger:
        """The truth; `report()` says what follows from it."""
        return self.comfy.ledger

    def report(self) -> dict[str, Any]:
        """What GET /simulator/ledger answers."""
        return report(self.comfy.ledger)

    async def __aenter__(self) -> Self:
        history, pending = self._preloads
        preload_history(self.comfy, self._users, history, self._move_clock, self._speed)
        preload_pending(self.comfy, self._users, pending)
        self.comfy.listener = self._hear
        await self._server.start()
        self.executor.start()
        self._keep(self.traffic.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.executor.stop()
        self.sockets.abort_all()
        await self._server.stop()

    async def kill(self) -> None:
        """The process dies: all connections end with 1006, and new ones are refused until `restart`."""
        self.comfy.kill()
        await self.executor.stop()
        self.sockets.abort_all()
        await self._server.die()

    async def restart(self) -> None:
        """A new process starts on the same port, after the old one was killed if it lives."""
        await self.kill()
        await self._server.listen()
        self.comfy.restart()
        self.executor.start()

    async def crash(self, down_ms: float = 1000) -> None:
        """Die, stay down so long in the simulator's time, and come back as a new process."""
        await self.kill()
        await self.time.sleep(down_ms / 1000)
        await self.restart()

    def take_memory(self, gigabytes: float) -> None:
        """Let another program hold so much of the GPU's memory, 0: none."""
        self.comfy.machine.taken_gigabytes = gigabytes

    def crash_soon(self, down_ms: float) -> None:
        """Crash in the background, so that the request that asked for it can be answered first."""
        self._keep(self._crash_after_answer(down_ms))

    async def _crash_after_answer(self, down_ms: float) -> None:
        # The answer is written in the same turn of the loop in which its handler returns: a moment is enough.
        await asyncio.sleep(0.01)
        await self.crash(down_ms)

    def _build_app(self) -> web.Application:
        app = web.Application(client_max_size=_MAX_UPLOAD)
        add_control_routes(app, self)
        ComfyRoutes(self.comfy, self.sockets, Responder(self.comfy, self.faults, self.time)).add_to(app)
        return app

    def _hear(self, event: str, data: Any, recipient: Any) -> None:
        if not self.comfy.exiting:
            self.sockets.dispatch(event, data, recipient)
        if event == "status":
            self.executor.wake()

    def _process_exited(self) -> None:
        """A prompt makes the process exit by itself; only `restart` brings it back."""
        self._keep(self._exit())

    async def _exit(self) -> None:
        await self.time.sleep(_EXIT_S)
        if self.comfy.exiting:
            await self.kill()

    def _keep(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _now_ms(self) -> float:
        return self.time.now_ms() + self._offset_ms

    def _move_clock(self, ms: float) -> None:
        self._offset_ms += ms


def _random(seed: int, purpose: str) -> Random:
    """One source for each purpose, so that an observer's requests do not change what users submit."""
    return Random(f"{seed} {purpose}")  # noqa: S311 - a simulation, not a secret


async def serve(options: SimulateOptions) -> None:
    """Serve a simulated ComfyUI until cancelled; OSError when it cannot listen, ValueError for an unknown profile."""
    async with Simulation.from_options(options) as simulation:
        sys.stdout.write(f"simulated ComfyUI {simulation.comfy.profile.version} at {simulation.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()
