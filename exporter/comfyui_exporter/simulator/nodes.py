"""What a node class is: its inputs, its work when it is executed, and the output that it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from comfyui_exporter.simulator.failures import Failure

Graph = dict[str, dict[str, Any]]
"""A prompt as submitted: node id to `{"class_type", "inputs"}`."""

UiOutput = dict[str, list[Any]]
"""What a node shows: `{"images": [{"filename", "subfolder", "type"}]}` and the like."""


def is_link(value: object) -> bool:
    """Whether an input's value is a link to another node: `[node_id, output_index]`."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a class, as /object_info describes it."""

    type: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def as_list(self) -> list[Any]:
        """`[type]` or `[type, options]`."""
        return [self.type, dict(self.options)] if self.options else [self.type]


class Machine(Protocol):
    """What a node's work depends on besides its inputs: the GPU and the disk."""

    def load_ms(self, model: str, gigabytes: float) -> float:
        """Time to have this model in memory; 0 when it is there already."""

    def save(self, prefix: str, ending: str, count: int, kind: str) -> list[dict[str, str]]:
        """Name so many new files in the folder `output` or `temp`."""


@dataclass(frozen=True, slots=True)
class Task:
    """A node that is about to be executed."""

    node_id: str
    inputs: Mapping[str, Any]
    graph: Graph
    machine: Machine

    def number(self, name: str, default: float) -> float:
        """A numeric input, or the default when it is absent or a link."""
        value = self.inputs.get(name, default)
        return default if isinstance(value, bool) or not isinstance(value, int | float) else value

    def text(self, name: str, default: str) -> str:
        """A text input, or the default when it is absent or a link."""
        value = self.inputs.get(name, default)
        return value if isinstance(value, str) else default

    def upstream(self, name: str, default: float) -> float:
        """The number of that name at the nearest node upstream that has it, such as the width of an empty latent."""
        front, seen = [self.node_id], {self.node_id}
        while front:
            node_id = front.pop(0)
            inputs = self.graph.get(node_id, {}).get("inputs", {})
            value = inputs.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return value
            sources = [link[0] for link in inputs.values() if is_link(link) and link[0] not in seen]
            seen.update(sources)
            front.extend(sources)
        return default


@dataclass(frozen=True, slots=True)
class Work:
    """What executing a node takes; all times for a GPU of speed 1."""

    load_ms: float = 0
    """A model load, silent, before anything else."""
    quiet_ms: float = 0
    """Silent time, in which no interrupt is noticed."""
    steps: int = 0
    """Steps of a progress bar; an interrupt is noticed at the end of each."""
    step_ms: float = 0
    preview: bool = False
    """Each step sends a preview image."""
    failure: Failure | None = None
    """How it fails after all that."""
    blocked: str | None = None
    """It gives a blocker with this message instead of its result; nodes that need it do nothing."""
    expansion: Mapping[str, tuple[str, dict[str, Any]]] | None = None
    """It gives a subgraph instead: short id to class and inputs, whose links use the short ids too."""


@dataclass(frozen=True, slots=True)
class NodeClass:
    """A class of nodes that the simulated ComfyUI has."""

    name: str
    required: Mapping[str, Input] = field(default_factory=dict)
    optional: Mapping[str, Input] = field(default_factory=dict)
    returns: tuple[str, ...] = ()
    output_node: bool = False
    work: Callable[[Task], Work] = lambda _: Work(quiet_ms=2)
    show: Callable[[Task], UiOutput | None] = lambda _: None
    category: str = "simulator"
    module: str = "nodes"
    saves_metadata: bool = False
    """It reads `extra_data`, and fails when that is not an object."""

    def object_info(self) -> dict[str, Any]:
        """What GET /object_info/{class} says of it."""
        return {
            "input": {
                kind: {name: an_input.as_list() for name, an_input in inputs.items()}
                for kind, inputs in (("required", self.required), ("optional", self.optional))
                if inputs or kind == "required"
            },
            "input_order": {
                kind: list(inputs)
                for kind, inputs in (("required", self.required), ("optional", self.optional))
                if inputs or kind == "required"
            },
            "output": list(self.returns),
            "output_is_list": [False] * len(self.returns),
            "output_name": list(self.returns),
            "name": self.name,
            "display_name": self.name,
            "description": "",
            "python_module": self.module,
            "category": self.category,
            "output_node": self.output_node,
        }
