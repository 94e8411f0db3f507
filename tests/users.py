"""Users of a simulated ComfyUI who do all that users do, to its queue and to its history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from comfyui_exporter.simulator import Simulation
from comfyui_exporter.simulator.ledger import Run


def _nobody(_run: Run) -> bool:
    return False


class Users:
    """Submit, interrupt, delete and clear; a job in so many acts is followed by each."""

    def __init__(self, simulation: Simulation, rng: Random, spared: Callable[[Run], bool] = _nobody) -> None:
        self._simulation = simulation
        self._comfy = simulation.comfy
        self._rng = rng
        self._spared = spared
        """Runs whose history entry they neither delete nor let a job of the same id replace."""
        self.history_may_vanish = True
        """Whoever loses the connection as well as all jobs that it knew must take the server for restarted."""
        self.history_may_be_cleared = True
        self.queue_may_vanish = True
        self.lately = 60
        """So many jobs back reaches their interest in history entries."""

    async def submit(self, jobs: int) -> None:
        """Submit so many, in bursts, and let ComfyUI come after."""
        while jobs > 0:
            burst = min(jobs, self._rng.choice((1, 1, 1, 2, 2, 3, 5, 12)))
            jobs -= burst
            for _ in range(burst):
                if self._comfy.alive:
                    self._submit()
                    self._act()
            await asyncio.sleep(self._rng.uniform(0.0, 0.03) * burst)
            while self._comfy.alive and self._comfy.queue_remaining > 25:  # noqa: ASYNC110 - users cannot wait for it
                await asyncio.sleep(0.02)

    def _submit(self) -> None:
        traffic = self._simulation.traffic
        body = traffic.body()
        if self._chance(0.06):
            body["front"] = True
        elif self._chance(0.04):
            body["number"] = self._rng.uniform(-1.0, 1.0) * len(self._comfy.ledger.runs)
        if self._chance(0.05):
            body["prompt_id"] = self._used_id() or self._new_id()
        if traffic.fails():
            prompt_id = body.setdefault("prompt_id", self._new_id())
            self._simulation.executor.accidents[prompt_id] = self._rng.choice(
                ("cuda_oom", "missing_file", "connection")
            )
        self._comfy.submit(body)

    def _act(self) -> None:
        comfy = self._comfy
        if self._chance(0.05):
            comfy.interrupt()
        if self.queue_may_vanish and self._chance(0.05):
            waiting = [run.prompt_id for run in comfy.ledger.runs[-60:] if run.place == "pending"]
            comfy.delete_pending(waiting and [self._rng.choice(waiting)])
        if self.queue_may_vanish and self._chance(0.008):
            comfy.clear_pending()
        if self.history_may_vanish:
            if self._chance(0.03):
                standing = [run for run in comfy.ledger.runs[-self.lately :] if run.place == "history"]
                unlucky = [run.prompt_id for run in standing if not self._spared(run)]
                comfy.delete_history(unlucky and [self._rng.choice(unlucky)])
            if self.history_may_be_cleared and self._chance(0.004):
                comfy.clear_history()

    def _used_id(self) -> str | None:
        """The id of a job that ended a while ago in this process."""
        ledger = self._comfy.ledger
        used = [
            run.prompt_id
            for run in ledger.runs[:-60]
            if run.epoch == ledger.restarts and run.place == "history" and not self._spared(run)
        ]
        return self._rng.choice(used) if used else None

    def _new_id(self) -> str:
        return f"{self._rng.getrandbits(32):08x}-0000-4000-8000-{self._rng.getrandbits(48):012x}"

    def _chance(self, probability: float) -> bool:
        return self._rng.random() < probability
