"""A ComfyUI in memory: no sockets, no event loop, no time of its own.

Each method is one step of the real server, so that tests can play any order of steps. Reads return an `Answer`; only
`Answer.delivered()` tells the ledger that a client received it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any

from comfyui_exporter.simulator import jobs
from comfyui_exporter.simulator.answer import HANDLER_ERRORS, TROUBLE, Answer, ComfyUIDownError
from comfyui_exporter.simulator.cache import NodeCache
from comfyui_exporter.simulator.execution import COMPLETED, INTERRUPTED, Emit, Execution, Outcome
from comfyui_exporter.simulator.ledger import Contents, Ledger
from comfyui_exporter.simulator.machine import GpuMachine
from comfyui_exporter.simulator.profile import Profile, profile_named
from comfyui_exporter.simulator.prompt_queue import MAXIMUM_HISTORY_SIZE, Item, PromptQueue
from comfyui_exporter.simulator.submission import (
    canonical_prompt_id,
    client_id_of,
    extra_data_of,
    job_type_of,
    stamp,
    without_secrets,
)
from comfyui_exporter.simulator.system import system_stats
from comfyui_exporter.simulator.validation import problem, validate


def _deaf(event: str, data: Any, recipient: Any) -> None:
    """Listener of a ComfyUI without sockets."""


class ComfyUI:
    """One server through all its restarts.

    Args:
        clock: ComfyUI's clock, in ms since the epoch.
        rng: Source of ids and of the noise in durations; the same seed gives the same server.
        profile: Which version to be, by name or as a value.
        listener: Called with (event, data, recipient) for every event, in the order in which ComfyUI sends them;
            recipient is a client_id, or None for every socket.
        maximum_history_size: See `prompt_queue.MAXIMUM_HISTORY_SIZE`.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        rng: Random | None = None,
        *,
        profile: str | Profile = "0.3.64",
        listener: Emit = _deaf,
        maximum_history_size: int = MAXIMUM_HISTORY_SIZE,
    ) -> None:
        self.rng = rng or Random(0)  # noqa: S311 - a simulation, not a secret
        self.profile = profile if isinstance(profile, Profile) else profile_named(profile)
        self.listener = listener
        self.ledger = Ledger(now=clock)
        self.machine = GpuMachine(self.rng)
        self.execution: Execution | None = None
        self.worker_dead = False
        """The thread that executes prompts ended: all answers go on, and nothing runs any more."""
        self.exiting = False
        """The main loop ended: no event is sent any more, and the process is about to exit; `kill` it."""
        self._clock = clock
        self._queue = PromptQueue(self.ledger, self.now, self._status, maximum_history_size)
        self._cache = NodeCache()
        self._number = 0
        self._interrupt = False
        self.machine.restart()

    @property
    def alive(self) -> bool:
        """Whether the process lives; if not, every read and write raises ComfyUIDownError."""
        return self.ledger.alive

    @property
    def queue_remaining(self) -> int:
        """How many prompts are pending or running."""
        return len(self._queue)

    def now(self) -> int:
        """ComfyUI's clock, in whole ms as its timestamps are."""
        return int(self._clock())

    # Submissions

    def submit(self, body: Any) -> tuple[int, Any]:
        """POST /prompt: status and body of the answer. A 500 may nevertheless have queued the prompt."""
        self._require_alive()
        try:
            return self._submit(body)
        except HANDLER_ERRORS:
            return 500, TROUBLE

    def _submit(self, body: Any) -> tuple[int, Any]:
        if "number" in body:
            number: float = float(body["number"])
        else:
            front = isinstance(body, dict) and bool(body.get("front"))
            number = -self._number if front else self._number
            self._number += 1
        if "prompt" not in body:
            error = problem("no_prompt", "No prompt provided", "No prompt provided")
            return 400, {"error": error, "node_errors": {}}
        prompt_id = self._prompt_id(body)
        if prompt_id is None:
            details = "prompt_id must be a UUID string in canonical lowercase hyphenated form; omit it to have one made"
            error = problem("invalid_prompt_id", "prompt_id must be a valid UUID", details)
            return 400, {"error": error, "node_errors": {}}
        verdict = validate(body["prompt"], body.get("partial_execution_targets"))
        extra_data = extra_data_of(body)
        if not verdict.outputs:
            return 400, {"error": verdict.error, "node_errors": verdict.node_errors}
        if self.profile.create_time:
            stamp(extra_data, self.now())
        run = self.ledger.submitted(prompt_id, number, job_type_of(extra_data), self.now())
        self._queue.put(Item(number, prompt_id, body["prompt"], extra_data, verdict.outputs, run))
        return 200, {"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors}

    def _prompt_id(self, body: Mapping[str, Any]) -> str | None:
        """The new prompt's id; None when the client gave one that this version refuses."""
        made = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        if not self.profile.canonical_prompt_ids:
            return str(body.get("prompt_id", made))
        given = body.get("prompt_id")
        return made if given is None else canonical_prompt_id(given)

    # The worker

    def start_next(self) -> Execution | None:
        """The worker takes the next prompt; None when there is none, one runs, the worker is dead or dies of it.

        ComfyUI as a whole exits when the prompt's client_id is an object or a list: look at `exiting`.
        """
        self._require_alive()
        if self.execution is not None or self.worker_dead:
            return None
        try:
            item = self._queue.take()
            if item is None:
                return None
            self._interrupt = False
            client_id = client_id_of(item.extra_data)
        except HANDLER_ERRORS:
            # Nothing catches an exception outside of a node: `extra_data: null` ends the worker for good.
            self.worker_dead = True
            return None
        if isinstance(client_id, dict | list):
            # It cannot be looked up among the sockets, and that exception ends the server's main loop.
            self.worker_dead = self.exiting = True
            return None
        self.execution = Execution(
            item, client_id, self.now, self._emit, self._cache, with_activity=self.profile.activity
        )
        self.execution.begin()
        return self.execution

    def finish(self, outcome: Outcome | None = None) -> None:
        """The running prompt ends; by default interrupted if that was asked for, else completed.

        Outputs are those of the nodes that the execution finished, and of cached ones.
        """
        self._require_alive()
        execution = self.execution
        if execution is None:
            raise RuntimeError("no prompt is running")
        if outcome is None:
            outcome = INTERRUPTED if self.take_interrupt() else COMPLETED
        entry = execution.end(outcome)
        self.execution = None
        body = {"prompt": without_secrets(execution.item), **entry}
        self._queue.done(execution.item, body, outcome.status, outcome.exception_type)
        if execution.client_id is not None:
            self._emit("executing", {"node": None, "prompt_id": execution.prompt_id}, execution.client_id)

    def take_interrupt(self) -> bool:
        """Whether an interrupt was asked for since the running prompt started; asking takes it away."""
        asked, self._interrupt = self._interrupt, False
        return asked

    # What clients do to the queue and the history

    def interrupt(self, prompt_id: object = None) -> None:
        """POST /interrupt: of the running prompt, or only if it has that id; noticed by nodes, not at once."""
        self._require_alive()
        if not prompt_id or any(item.prompt_id == prompt_id for item in self._queue.running):
            self._interrupt = True

    def delete_pending(self, prompt_ids: Iterable[object]) -> None:
        """POST /queue {"delete": [...]}: of each id the first that is pending."""
        self._require_alive()
        for prompt_id in prompt_ids:
            self._queue.delete(prompt_id)

    def clear_pending(self) -> None:
        """POST /queue {"clear": true}."""
        self._require_alive()
        self._queue.clear()

    def delete_history(self, prompt_ids: Iterable[str]) -> None:
        """POST /history {"delete": [...]}."""
        self._require_alive()
        for prompt_id in prompt_ids:
            self._queue.delete_entry(prompt_id)

    def clear_history(self) -> None:
        """POST /history {"clear": true}."""
        self._require_alive()
        self._queue.clear_history()

    def cancel(self, prompt_id: str) -> bool:
        """POST /api/jobs/{id}/cancel: interrupt it or delete it; False when it is neither running nor pending."""
        self._require_alive()
        if any(item.prompt_id == prompt_id for item in self._queue.running):
            self._interrupt = True
            return True
        return self._queue.delete(prompt_id)

    # The process

    def kill(self) -> None:
        """The process is gone, with all that it knew."""
        if self.alive:
            self._queue.forget()
            self.ledger.died()
            self.execution = None

    def restart(self) -> None:
        """A new process answers, after the old one was killed if need be."""
        self.kill()
        self.ledger.restarted()
        self.worker_dead = self.exiting = self._interrupt = False
        self._number = 0
        self._cache = NodeCache()
        self.machine.restart()

    # Reads

    def prompt_info(self) -> Answer:
        """GET /prompt."""
        return self._answer({"exec_info": {"queue_remaining": len(self._queue)}})

    def queue(self) -> Answer:
        """GET /queue; pending in heap order."""
        pending, running = list(self._queue.pending), list(self._queue.running)
        body = {
            "queue_running": [item.as_list() for item in running],
            "queue_pending": [item.as_list() for item in pending],
        }
        runs = Contents([item.run for item in pending], [item.run for item in running], whole_queue=True)
        return self._answer(body, runs)

    def history(self, max_items: int | None = None, offset: int = -1) -> Answer:
        """GET /history?max_items=&offset=; offset -1 stands for none."""
        entries = self._queue.newest(max_items, offset)
        body = {prompt_id: entry.body for prompt_id, entry in entries.items()}
        return self._answer(body, Contents(entries=[entry.run for entry in entries.values()], history_list=True))

    def history_one(self, prompt_id: str) -> Answer:
        """GET /history/{prompt_id}."""
        entry = self._queue.history.get(prompt_id)
        if entry is None:
            return self._answer({})
        return self._answer({prompt_id: entry.body}, Contents(entries=[entry.run], by_id=True))

    def system_stats(self) -> Answer:
        """GET /system_stats."""
        running = bool(self._queue.running)
        machine = self.machine
        stats = system_stats(self.profile, machine.model_gigabytes, machine.taken_gigabytes, running=running)
        return self._answer(stats)

    def jobs(self, query: Mapping[str, str] | None = None) -> Answer:
        """GET /api/jobs with the parameters of the query string; 404 in versions without it."""
        if not self.profile.jobs_api:
            return self._answer("", status=404)
        try:
            wanted = jobs.parse_query(query or {}, self.profile)
        except jobs.BadQueryError as error:
            return self._answer({"error": str(error)}, status=400)
        return self._answer(*jobs.list_jobs(self._queue, wanted, self.profile))

    def job(self, prompt_id: str) -> Answer:
        """GET /api/jobs/{prompt_id}; 404 in versions without it, and when unknown."""
        if not self.profile.jobs_api:
            return self._answer("", status=404)
        body, contents = jobs.one_job(self._queue, prompt_id, self.profile)
        if body is None:
            return self._answer({"error": "Job not found"}, status=404)
        return self._answer(body, contents)

    def _answer(self, body: Any, contents: Contents | None = None, *, status: int = 200) -> Answer:
        self._require_alive()
        return Answer(status, body, self.ledger.receipt(contents))

    def _require_alive(self) -> None:
        if not self.alive:
            raise ComfyUIDownError("ComfyUI is down")

    def _status(self) -> None:
        self._emit("status", {"status": {"exec_info": {"queue_remaining": len(self._queue)}}}, None)

    def _emit(self, event: str, data: Any, recipient: Any) -> None:
        self.listener(event, data, recipient)
