"""Users of a simulated ComfyUI: they submit, tag some of their prompts, interrupt some and delete others."""

from __future__ import annotations

import asyncio
import uuid
from random import Random
from typing import Any

from comfyui_exporter.simulator.comfy import ComfyUI
from comfyui_exporter.simulator.executor import Executor
from comfyui_exporter.simulator.failures import FAILURES
from comfyui_exporter.simulator.simtime import SimTime
from comfyui_exporter.simulator.workflows import BrowserData, Workflow, any_workflow

_FAILURE_WEIGHTS = {"cuda_oom": 5, "cuda_oom_runtime": 2, "missing_file": 2, "connection": 1, "value": 1, "shape": 1}
"""How often each failure happens, relative to the others, which have 1 too."""

_BROWSER, _SCRIPT, _SERVICE = 0.5, 0.2, 0.3
"""Shares of submitters: the browser sends a client_id and its workflow, a script neither, a service tags its jobs."""

_AGAIN = 0.06
"""Share of submissions that repeat an earlier prompt, which ComfyUI answers from its cache if it was the last one."""

_BATCH_OF = 6
"""How many jobs of a service share a batch_id."""

_IMPATIENCE = 0.05
"""Chance per submission that its user interrupts what runs, and the same that he deletes one of those that wait."""


class Traffic:
    """Submits at a rate while it runs.

    Args:
        comfy: Where to submit.
        executor: Told which prompts are to fail.
        time: Where waits happen.
        rng: Source of everything random in it.
        rate: Submissions a minute; 0: none until it is changed.
        failure_rate: Share of submissions that fail, 0 to 1.
        graph_bytes: Size of a browser's submission, see `BrowserData`.
    """

    def __init__(
        self,
        comfy: ComfyUI,
        executor: Executor,
        time: SimTime,
        rng: Random,
        *,
        rate: float = 0.0,
        failure_rate: float = 0.05,
        graph_bytes: int = 0,
    ) -> None:
        self.failure_rate = failure_rate
        self._comfy = comfy
        self._executor = executor
        self._time = time
        self._rng = rng
        self._rate = rate
        self._browser = BrowserData(graph_bytes, rng)
        self._changed = asyncio.Event()
        self._last: Workflow | None = None
        self._jobs = 0

    @property
    def rate(self) -> float:
        """Submissions a minute."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._rate = rate
        self._changed.set()

    async def run(self) -> None:
        """Submit until cancelled."""
        while True:
            self._changed.clear()
            if self._rate <= 0:
                await self._changed.wait()
                continue
            await self._time.sleep(self._rng.expovariate(self._rate / 60))
            if self._comfy.alive and self._rate > 0:
                self.act()

    def act(self) -> None:
        """One user does something: always a submission, sometimes an impatient act."""
        self.submit()
        if self._rng.random() < _IMPATIENCE:
            self._comfy.interrupt()
        waiting = [run for run in self._comfy.ledger.runs[-50:] if run.place == "pending"]
        if waiting and self._rng.random() < _IMPATIENCE:
            self._comfy.delete_pending([self._rng.choice(waiting).prompt_id])

    def submit(self) -> None:
        """One submission, which may be one that is going to fail."""
        body = self.body()
        if self.fails():
            weights = [_FAILURE_WEIGHTS.get(name, 1) for name in FAILURES]
            prompt_id = body["prompt_id"] = self._uuid()
            self._executor.accidents[prompt_id] = self._rng.choices(list(FAILURES), weights)[0]
        self._comfy.submit(body)

    def fails(self) -> bool:
        """Draw whether a submission is to fail."""
        return self._rng.random() < self.failure_rate

    def body(self) -> dict[str, Any]:
        """What one of the kinds of users sends to POST /prompt."""
        if self._last is None or self._rng.random() >= _AGAIN:
            self._last = any_workflow(self._rng)
        workflow = self._last
        self._jobs += 1
        body: dict[str, Any] = {"prompt": workflow.graph}
        match self._rng.choices(("browser", "script", "service"), (_BROWSER, _SCRIPT, _SERVICE))[0]:
            case "browser":
                body |= {"client_id": f"browser-{self._rng.randint(1, 3)}", "extra_data": self._browser.of(workflow)}
            case "service":
                batch_id = f"batch-{self._jobs // _BATCH_OF}"
                tags = {"job_id": self._jobs, "job_type": workflow.kind, "batch_id": batch_id}
                body |= {"prompt_id": self._uuid(), "extra_data": tags}
        return body

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
