"""In which order ComfyUI executes the nodes of a prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from comfyui_exporter.simulator.nodes import is_link


class Schedule:
    """The nodes that the requested outputs need and that are not cached, handed out when what they need is done.

    The order among nodes that could go next follows the aim of ComfyUI's execution list, to show results early:
    output nodes, then nodes next to one, then nodes one further away, then the others.
    """

    def __init__(
        self,
        inputs_of: Callable[[str], dict[str, Any]],
        is_cached: Callable[[str], bool],
        is_output: Callable[[str], bool],
        outputs: Iterable[str],
    ) -> None:
        self._inputs_of = inputs_of
        self._is_cached = is_cached
        self._is_output = is_output
        self._needs: dict[str, set[str]] = {}
        for output in outputs:
            self.add(output)

    def add(self, node_id: str) -> None:
        """Schedule a node with all that it needs."""
        stack = [node_id]
        while stack:
            current = stack.pop()
            if current in self._needs:
                continue
            links = [value[0] for value in self._inputs_of(current).values() if is_link(value)]
            needed = [source for source in links if not self._is_cached(source)]
            self._needs[current] = set(needed)
            stack += needed

    def wait_for(self, node_id: str, sources: Sequence[str]) -> None:
        """Make a node that is being executed wait for nodes that it brought forth."""
        for source in sources:
            self.add(source)
        self._needs[node_id] |= set(sources)

    def next(self) -> str | None:
        """The node to execute now; None when all are done."""
        ready = [node_id for node_id, needs in self._needs.items() if not needs]
        for wanted in (self._is_output, self._feeds_output, self._feeds_feeder):
            for node_id in ready:
                if wanted(node_id):
                    return node_id
        return ready[0] if ready else None

    def done(self, node_id: str) -> None:
        """The node has its result: those that waited for it need it no more."""
        del self._needs[node_id]
        for needs in self._needs.values():
            needs.discard(node_id)

    def _waiting_for(self, node_id: str) -> list[str]:
        return [other for other, needs in self._needs.items() if node_id in needs]

    def _feeds_output(self, node_id: str) -> bool:
        return any(self._is_output(other) for other in self._waiting_for(node_id))

    def _feeds_feeder(self, node_id: str) -> bool:
        return any(self._feeds_output(other) for other in self._waiting_for(node_id))
