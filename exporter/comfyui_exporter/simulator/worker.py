"""What ComfyUI's worker does with the running prompt, node by node."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from comfyui_exporter.simulator.comfy import ComfyUI
from comfyui_exporter.simulator.execution import COMPLETED, INTERRUPTED, Execution, Outcome
from comfyui_exporter.simulator.failures import Failure
from comfyui_exporter.simulator.node_classes import NODE_CLASSES
from comfyui_exporter.simulator.nodes import NodeClass, Task, Work, is_link
from comfyui_exporter.simulator.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Accident:
    """A failure that the simulator adds to a prompt which by itself would succeed."""

    node_id: str
    failure: Failure


class _InterruptedError(Exception):
    """A node noticed that an interrupt was asked for."""


class _FailedError(Exception):
    """A node raised an exception."""

    def __init__(self, node_id: str, failure: Failure, inputs: Mapping[str, Any]) -> None:
        super().__init__(failure.message)
        self.outcome = Outcome("failed", node_id, failure, dict(inputs))


def run_to_end(comfy: ComfyUI) -> None:
    """Start the next prompt if none runs, and do all its work at once, in no time."""
    execution = comfy.execution or comfy.start_next()
    if execution is not None:
        for _ in work_on(comfy, execution):
            pass


def work_on(comfy: ComfyUI, execution: Execution, accident: Accident | None = None) -> Iterator[float]:
    """Execute the running prompt and finish it; yields the ms (of a GPU of speed 1) to let pass before going on.

    It ends without more ado when ComfyUI was killed, or the prompt finished by other means, in the meantime.
    """
    outcome = COMPLETED
    try:
        for ms in _Worker(comfy, execution, accident).run():
            yield ms
            if comfy.execution is not execution:
                return
    except _InterruptedError:
        outcome = INTERRUPTED
    except _FailedError as error:
        outcome = error.outcome
    comfy.finish(outcome)


@dataclass(slots=True)
class _Worker:
    comfy: ComfyUI
    execution: Execution
    accident: Accident | None
    inner: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Nodes of expansions, by id, as in a graph."""
    blocked: set[str] = field(default_factory=set)
    """Nodes whose result is a silent blocker, or a loud one that was already told of."""
    loud: dict[str, str] = field(default_factory=dict)
    """Message of a node whose result is a blocker that was not told of yet."""
    expanded: set[str] = field(default_factory=set)

    def run(self) -> Iterator[float]:
        schedule = Schedule(self._inputs, self._is_cached, self._is_output, self.execution.item.outputs)
        while (node_id := schedule.next()) is not None:
            if self._is_cached(node_id):
                self.execution.repeat_node(node_id)
            elif node_id in self.expanded:
                self.execution.finish_node(node_id)
            else:
                sources = yield from self._execute(node_id)
                if sources:
                    schedule.wait_for(node_id, sources)
                    continue
            schedule.done(node_id)

    def _execute(self, node_id: str) -> Generator[float, None, list[str]]:
        """Execute one node; the value of the generator are the nodes that it brought forth and waits for."""
        node_class, inputs = self._class(node_id), self._inputs(node_id)
        task = Task(node_id, inputs, {**self.execution.item.graph, **self.inner}, self.comfy.machine)
        self._require_extra_data(node_id, node_class)
        if self._is_blocked(inputs):
            self.execution.start_node(node_id)
            self.execution.announce(node_id)
            self._check_interrupt()
            self._pass_block_on(node_id, inputs)
            self.execution.finish_node(node_id)
            return []
        work = node_class.work(task)
        self.execution.start_node(node_id, activity="loading" if work.load_ms else None)
        self.execution.announce(node_id)
        self._check_interrupt()
        yield from self._labour(node_id, work)
        failure = self.accident.failure if self.accident and self.accident.node_id == node_id else work.failure
        if failure is not None:
            raise _FailedError(node_id, failure, inputs)
        if work.expansion:
            return self._expand(node_id, work.expansion)
        if work.blocked is not None:
            self.loud[node_id] = work.blocked
        self.execution.finish_node(node_id, node_class.show(task))
        return []

    def _labour(self, node_id: str, work: Work) -> Iterator[float]:
        noise = 1.0 if self._class(node_id).category == "probe" else self.comfy.machine.noise()
        silent = (work.load_ms + work.quiet_ms) * noise
        if silent:
            yield silent
        fails_at = work.steps // 2 if self.accident and self.accident.node_id == node_id else work.steps
        for step in range(1, fails_at + 1):
            yield work.step_ms * noise
            self._check_interrupt()
            self.execution.step(node_id, step, work.steps, preview=work.preview)

    def _expand(self, node_id: str, expansion: Mapping[str, tuple[str, dict[str, Any]]]) -> list[str]:
        ids = {short: f"{node_id}.0.0.{short}" for short in expansion}
        for short, (class_type, inputs) in expansion.items():
            linked = {name: [ids[value[0]], value[1]] if is_link(value) else value for name, value in inputs.items()}
            self.inner[ids[short]] = {"class_type": class_type, "inputs": linked}
            self.execution.parents[ids[short]] = node_id
        self.expanded.add(node_id)
        return list(ids.values())

    def _check_interrupt(self) -> None:
        if self.comfy.take_interrupt():
            raise _InterruptedError

    def _require_extra_data(self, node_id: str, node_class: NodeClass) -> None:
        extra_data = self.execution.item.extra_data
        if node_class.saves_metadata and not isinstance(extra_data, dict):
            self.execution.start_node(node_id)
            kind = type(extra_data).__name__
            raise _FailedError(node_id, Failure("AttributeError", f"'{kind}' object has no attribute 'get'"), {})

    def _is_blocked(self, inputs: Mapping[str, Any]) -> bool:
        return any(is_link(v) and (v[0] in self.loud or v[0] in self.blocked) for v in inputs.values())

    def _pass_block_on(self, node_id: str, inputs: Mapping[str, Any]) -> None:
        for value in inputs.values():
            if is_link(value) and value[0] in self.loud:
                self.execution.block(node_id, self.loud[value[0]])
        self.blocked.add(node_id)

    def _node(self, node_id: str) -> dict[str, Any]:
        return self.inner.get(node_id) or self.execution.item.graph[node_id]

    def _inputs(self, node_id: str) -> dict[str, Any]:
        inputs: dict[str, Any] = self._node(node_id)["inputs"]
        return inputs

    def _class(self, node_id: str) -> NodeClass:
        return NODE_CLASSES[self._node(node_id)["class_type"]]

    def _is_cached(self, node_id: str) -> bool:
        return node_id not in self.execution.executed and self.execution.cache.get(node_id) is not None

    def _is_output(self, node_id: str) -> bool:
        return node_id not in self.inner and self._class(node_id).output_node
