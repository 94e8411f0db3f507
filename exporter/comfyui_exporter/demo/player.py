"""Has a simulated ComfyUI live through its day."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Callable
from random import Random
from typing import Any

from comfyui_exporter.demo import plan
from comfyui_exporter.demo.day import Event, Hang, Interrupt, Memory, Restart, Server, Withdraw
from comfyui_exporter.demo.plan import Act, Submission
from comfyui_exporter.simulator import Simulation
from comfyui_exporter.simulator.workflows import KINDS

_PAST_JOBS = 80
"""Jobs of the day before: from these the exporter learns how long such jobs take."""

_HISTORY = 1000
"""Entries that ComfyUI keeps; less than the real one, as a demo may run for days."""

Tell = Callable[[str, str, str], None]
"""Called with the time of the story, the server, and what happens there."""


class Player:
    """One simulated ComfyUI and what happens to it; `simulation` is to be entered before `run`.

    Args:
        server: Whose day.
        host: Address to listen on.
        port: 0: any free one.
        seed: The same seed gives the same jobs at the same times.
        tell: Told what whoever watches may want to know.
        options: More for the simulation.
    """

    def __init__(
        self, server: Server, host: str, port: int, *, seed: int = 0, tell: Tell = lambda *_: None, **options: Any
    ) -> None:
        self._server = server
        self._tell = tell
        self._rng = _random(seed, server, "acts")
        self._users = _Users(server, _random(seed, server, "users"))
        self._restart: asyncio.Task[None] | None = None
        self.simulation = Simulation(
            host=host,
            port=port,
            profile=server.profile,
            speed=server.speed,
            seed=seed,
            history=_PAST_JOBS,
            users=self._users,
            bridge=server.bridge,
            maximum_history_size=_HISTORY,
            **options,
        )

    @property
    def version(self) -> str:
        """Of ComfyUI."""
        return self.simulation.comfy.profile.version

    def body_of(self, job: Submission) -> dict[str, Any]:
        """What is sent to POST /prompt for a job."""
        return self._users.body_of(job)

    async def run(self) -> None:
        """Do what the day brings until cancelled."""
        time = self.simulation.time
        begun_ms = time.now_ms()
        for act in plan.acts(self._server, self._rng):
            await time.sleep(max(0.0, act.at_s - (time.now_ms() - begun_ms) / 1000))
            self._do(act)

    def _do(self, act: Act) -> None:
        if act.say:
            self._tell(plan.clock(act.at_s), self._server.name, act.say)
        if not self.simulation.comfy.alive:
            return  # nobody answers: whoever wanted something comes back later
        match act.what:
            case Submission() as job:
                self._submit(job)
            case Event() as event:
                self._happen(event)

    def _submit(self, job: Submission) -> None:
        body = self._users.body_of(job)
        if job.failure is not None:
            self.simulation.executor.accidents[body["prompt_id"]] = job.failure
        self.simulation.comfy.submit(body)

    def _happen(self, event: Event) -> None:
        comfy = self.simulation.comfy
        match event:
            case Memory(gigabytes=gigabytes):
                self.simulation.take_memory(gigabytes)
            case Interrupt():
                comfy.interrupt()
            case Hang():
                self.simulation.executor.hang()
            case Withdraw(keep=keep):
                waiting = [run.prompt_id for run in comfy.ledger.runs if run.place == "pending"]
                comfy.delete_pending(waiting[keep:])
            case Restart(down_s=down_s):
                # The task is kept here because the loop keeps no hold of those that it runs.
                self._restart = asyncio.create_task(self.simulation.crash(down_s * 1000))


class _Users:
    """What the users of a server send."""

    def __init__(self, server: Server, rng: Random) -> None:
        self._server = server
        self._rng = rng
        self._job_ids = itertools.count(rng.randrange(1000, 9000))

    def body(self) -> dict[str, Any]:
        """Any job of the day before."""
        return self.body_of(plan.any_user(self._server, self._rng))

    def fails(self) -> bool:
        """Nothing failed."""
        return False

    def body_of(self, job: Submission) -> dict[str, Any]:
        """The body of POST /prompt."""
        body: dict[str, Any] = {"prompt": KINDS[job.kind](self._rng).graph, "prompt_id": self._uuid()}
        match job.user:
            case "browser":
                body["client_id"] = f"browser-{self._rng.randint(1, 4)}"
            case "application":
                tags: dict[str, Any] = {"job_id": next(self._job_ids), "job_type": job.kind}
                if job.batch is not None:
                    tags["batch_id"] = job.batch
                body["extra_data"] = tags
        return body

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))


def _random(seed: int, server: Server, purpose: str) -> Random:
    return Random(f"{seed} {server.name} {purpose}")  # noqa: S311 - a story, not a secret
