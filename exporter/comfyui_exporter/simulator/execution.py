"""The running prompt: its progress, outputs and messages, and the events that tell of them.

Orders and receivers as in `PromptExecutor` and `WebUIProgressHandler` of ComfyUI 0.3.64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from comfyui_exporter.simulator.cache import CachedResult, NodeCache
from comfyui_exporter.simulator.failures import TRACEBACK, Failure, current_inputs
from comfyui_exporter.simulator.nodes import UiOutput
from comfyui_exporter.simulator.prompt_queue import Item

Emit = Callable[[str, Any, Any], None]
"""(event, data, recipient): recipient is the client_id of the one client that hears it, or None for all."""

PREVIEW = "preview"
"""Event of a preview image, for clients that take it without metadata; sent after `progress`."""

PREVIEW_WITH_METADATA = "preview_with_metadata"
"""Event of the same image for clients that negotiated metadata; sent before `progress`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ends."""

    status: Literal["completed", "failed", "interrupted"] = "completed"
    node_id: str | None = None
    """Where it failed or was interrupted; None: the node that runs, else the first one."""
    failure: Failure | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    """The failing node's inputs, for `current_inputs`."""

    @property
    def exception_type(self) -> str | None:
        """Of the failure, if it is one."""
        return self.failure.exception_type if self.failure is not None else None


COMPLETED = Outcome()
INTERRUPTED = Outcome("interrupted")


def failed(exception_type: str = "ValueError", message: str = "failed") -> Outcome:
    """The outcome of an exception in the node that runs."""
    return Outcome("failed", failure=Failure(exception_type, message))


@dataclass(slots=True)
class NodeProgress:
    """Progress of one node; `value` and `max` are floats until its first step, as ComfyUI has them."""

    value: float
    max: float
    state: Literal["running", "finished"] = "running"
    activity: str | None = None


@dataclass(slots=True)
class Execution:
    """The state of the running prompt."""

    item: Item
    client_id: Any
    """Who hears of it; None: nobody or everybody, by event."""
    clock: Callable[[], int]
    emit: Emit
    cache: NodeCache
    with_activity: bool
    messages: list[list[Any]] = field(default_factory=list)
    nodes: dict[str, NodeProgress] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    """Node that brought forth a node of an expansion, by that node's id."""
    executed: list[str] = field(default_factory=list)
    last_node_id: str | None = None
    """The node that a socket is told of that connects with the client_id of the running prompt."""

    @property
    def prompt_id(self) -> str:
        """The running prompt's id."""
        return self.item.prompt_id

    def begin(self) -> None:
        """Send what comes before the first node."""
        self.message("execution_start", {"prompt_id": self.prompt_id}, broadcast=False)
        self.cache.begin(self.item.graph)
        cached = [node_id for node_id in self.item.graph if self.cache.get(node_id) is not None]
        self.message("execution_cached", {"nodes": cached, "prompt_id": self.prompt_id}, broadcast=False)

    def message(self, event: str, data: dict[str, Any], *, broadcast: bool) -> None:
        """Keep a message for the history, and send it if somebody is to hear it."""
        stamped = {**data, "timestamp": self.clock()}
        self.messages.append([event, stamped])
        if self.client_id is not None or broadcast:
            self.emit(event, stamped, self.client_id)

    def start_node(self, node_id: str, *, activity: str | None = None) -> None:
        """A node starts: 0 of 1."""
        self.nodes[node_id] = NodeProgress(0.0, 1.0, activity=activity)
        self._progress_state()

    def announce(self, node_id: str) -> None:
        """Tell the submitter which node is executing; after `start_node`, once its inputs are at hand."""
        if self.client_id is not None:
            self.last_node_id = self._display(node_id)
            self._to_submitter("executing", {"node": node_id, "display_node": self._display(node_id)})

    def step(self, node_id: str, value: int, maximum: int, *, preview: bool = False) -> None:
        """A progress bar of the node moved."""
        self.nodes[node_id] = NodeProgress(value, maximum)
        self._progress_state()
        if preview:
            self.emit(PREVIEW_WITH_METADATA, {**self._identity(node_id), "image_type": "image/jpeg"}, self.client_id)
        data = {"value": value, "max": maximum, "prompt_id": self.prompt_id, "node": node_id}
        self.emit("progress", data, self.client_id)
        if preview:
            self.emit(PREVIEW, None, self.client_id)

    def block(self, node_id: str, message: str) -> None:
        """A node was given a blocker instead of its input: an error for whoever hears it, and none for the history."""
        data = {
            "prompt_id": self.prompt_id,
            "node_id": node_id,
            "node_type": self._class_type(node_id),
            "executed": list(self.executed),
            "exception_message": f"Execution Blocked: {message}",
            "exception_type": "ExecutionBlocked",
            "traceback": [],
            "current_inputs": [],
            "current_outputs": [],
        }
        self.emit("execution_error", data, self.client_id)

    def finish_node(self, node_id: str, ui: UiOutput | None = None) -> None:
        """A node has its result, and may show something."""
        meta = None
        if ui is not None:
            meta = {
                "node_id": node_id,
                "display_node": self._display(node_id),
                "parent_node": self.parents.get(node_id),
                "real_node_id": self._real(node_id),
            }
            self._executed_event(node_id, ui)
        self.cache.put(node_id, CachedResult(ui, meta))
        self._finish_progress(node_id)
        self.executed.append(node_id)

    def repeat_node(self, node_id: str) -> None:
        """A cached output node shows again what it showed before."""
        cached = self.cache.get(node_id)
        self._executed_event(node_id, cached.ui if cached else None)
        self._finish_progress(node_id)

    def end(self, outcome: Outcome) -> dict[str, Any]:
        """Send the last message and return the history entry."""
        if outcome.status == "completed":
            self.message("execution_success", {"prompt_id": self.prompt_id}, broadcast=False)
        else:
            self._end_early(outcome)
        outputs: dict[str, Any] = {}
        meta: dict[str, Any] = {}
        for node_id in self.item.graph:
            result = self.cache.get(node_id)
            if result is not None and result.ui is not None:
                outputs[node_id] = result.ui
                meta[node_id] = result.meta
        success = outcome.status == "completed"
        status = {
            "status_str": "success" if success else "error",
            "completed": success,
            "messages": self.messages,
        }
        return {"outputs": outputs, "status": status, "meta": meta}

    def _end_early(self, outcome: Outcome) -> None:
        running = [node_id for node_id, progress in self.nodes.items() if progress.state == "running"]
        node_id = self._real(outcome.node_id or (running or list(self.item.graph))[-1])
        data: dict[str, Any] = {
            "prompt_id": self.prompt_id,
            "node_id": node_id,
            "node_type": self._class_type(node_id),
            "executed": list(self.executed),
        }
        if outcome.status == "interrupted":
            self.message("execution_interrupted", data, broadcast=True)
            return
        failure = outcome.failure or Failure("RuntimeError", "failed")
        data |= {
            "exception_message": failure.exception_message,
            "exception_type": failure.exception_type,
            "traceback": list(TRACEBACK),
            "current_inputs": current_inputs(outcome.inputs),
            # ComfyUI lists every node of the prompt here, whether it has a result or not.
            "current_outputs": list(self.item.graph),
        }
        self.message("execution_error", data, broadcast=False)

    def _executed_event(self, node_id: str, ui: UiOutput | None) -> None:
        if self.client_id is not None:
            self._to_submitter("executed", {"node": node_id, "display_node": self._display(node_id), "output": ui})

    def _to_submitter(self, event: str, data: dict[str, Any]) -> None:
        self.emit(event, {**data, "prompt_id": self.prompt_id}, self.client_id)

    def _finish_progress(self, node_id: str) -> None:
        progress = self.nodes.setdefault(node_id, NodeProgress(0, 1))
        self.nodes[node_id] = NodeProgress(progress.max, progress.max, "finished")
        self._progress_state()

    def _progress_state(self) -> None:
        nodes: dict[str, Any] = {}
        for node_id, progress in self.nodes.items():
            nodes[node_id] = {
                "value": progress.value,
                "max": progress.max,
                "state": progress.state,
                **self._identity(node_id),
            }
            if self.with_activity:
                nodes[node_id]["activity"] = progress.activity
        self.emit("progress_state", {"prompt_id": self.prompt_id, "nodes": nodes}, self.client_id)

    def _identity(self, node_id: str) -> dict[str, Any]:
        return {
            "node_id": node_id,
            "prompt_id": self.prompt_id,
            "display_node_id": self._display(node_id),
            "parent_node_id": self.parents.get(node_id),
            "real_node_id": self._real(node_id),
        }

    def _real(self, node_id: str) -> str:
        while node_id in self.parents:
            node_id = self.parents[node_id]
        return node_id

    def _display(self, node_id: str) -> str:
        # An expansion may name other nodes to stand for its own; none of the simulated classes does.
        return self._real(node_id)

    def _class_type(self, node_id: str) -> str:
        class_type = self.item.graph.get(self._real(node_id), {}).get("class_type")
        return class_type if isinstance(class_type, str) else ""
