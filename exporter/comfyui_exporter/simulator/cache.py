"""Results that ComfyUI keeps from one prompt for the next."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any

from comfyui_exporter.simulator.nodes import Graph, UiOutput, is_link


@dataclass(frozen=True, slots=True)
class CachedResult:
    """A finished node: its result exists, and it may have shown something."""

    ui: UiOutput | None
    meta: dict[str, Any] | None


@dataclass(slots=True)
class NodeCache:
    """Results by what they were computed from: class, inputs and the same of every node upstream.

    As ComfyUI's default cache it keeps only what the prompt that ran last has too.
    """

    _results: dict[str, CachedResult] = field(default_factory=dict)
    _signatures: dict[str, str] = field(default_factory=dict)

    def begin(self, graph: Graph) -> None:
        """A prompt starts: drop results that it has no node for."""
        self._signatures = {}
        for node_id in graph:
            self._sign(graph, node_id)
        known = set(self._signatures.values())
        self._results = {key: result for key, result in self._results.items() if key in known}

    def get(self, node_id: str) -> CachedResult | None:
        """The result of that node of the running prompt."""
        return self._results.get(self._signatures.get(node_id, ""))

    def put(self, node_id: str, result: CachedResult) -> None:
        """Keep a result; nodes of an expansion, which are not in the submitted graph, are not kept."""
        if node_id in self._signatures:
            self._results[self._signatures[node_id]] = result

    def _sign(self, graph: Graph, node_id: str) -> str:
        if node_id in self._signatures:
            return self._signatures[node_id]
        node = graph.get(node_id)
        if node is None:
            return ""
        # The empty entry ends a cycle among nodes that no valid output needs.
        self._signatures[node_id] = ""
        inputs = {
            name: [self._sign(graph, value[0]), value[1]] if is_link(value) else value
            for name, value in node.get("inputs", {}).items()
        }
        text = json.dumps([node.get("class_type"), inputs], sort_keys=True)
        self._signatures[node_id] = sha1(text.encode(), usedforsecurity=False).hexdigest()
        return self._signatures[node_id]
