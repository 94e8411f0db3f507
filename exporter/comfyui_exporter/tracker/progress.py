"""How far a run has come: what events tell of its nodes, and the share of its work that this makes up.

Nodes are weighted by what nodes of their class took before on this server. A node that runs proves that everything it
takes its inputs from is done or came from the cache, so the percent is right for jobs whose `execution_cached` nobody
heard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from comfyui_exporter.tracker.observations import Graph, NodeHeard, NodesCached, NodesHeard, NodeState

NEARLY = 99.0
"""Percent that a job stays below until the history says that it is completed."""

_MOST_OUTSIDE = 5_000
"""Nodes of expanded subgraphs kept of one run."""

_MOST_DONE = 20_000
"""With so many nodes known as done, no more are believed to come from the cache."""

_SAMPLER_WEIGHT = 20.0
"""A sampler that was never timed counts as so many other nodes."""


@dataclass(frozen=True, slots=True)
class NodeNow:
    """The node that executes; `max` is 1 for a node without steps."""

    node_id: str
    node_type: str | None
    value: float
    max: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come at one moment."""

    percent: float = 0.0
    """0 to 99; never falls."""
    estimated: bool = True
    """From elapsed time alone, since no event of this run was heard."""
    node: NodeNow | None = None
    step: int = 0
    """Step that the node with steps is at, or was last; 0 if there was none."""
    steps: int = 0
    """Steps that this node has."""


NO_PROGRESS = Progress()


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One node of a run, for whoever asks for all of them."""

    node_id: str
    node_type: str | None
    state: str
    """`pending`, `running`, `finished` or `cached`."""
    value: float
    max: float
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Timed:
    """A node, or so many steps of one, took so long; `seconds` are for one."""

    node_type: str
    seconds: float
    steps: int = 0
    """0: it is the node that was timed."""


class NodeCosts:
    """What nodes of each class took lately on one server."""

    _MOST_CLASSES = 2_000

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def learn(self, node_type: str, seconds: float) -> None:
        """Take in how long a node took; late ones count more."""
        known = self._seconds.get(node_type)
        if known is None and len(self._seconds) >= self._MOST_CLASSES:
            return
        self._seconds[node_type] = seconds if known is None else known + 0.3 * (seconds - known)

    def known(self, node_type: str) -> float | None:
        """Give the usual seconds of a class; None if none was timed yet."""
        return self._seconds.get(node_type)

    def weights(self, node_types: Iterable[str]) -> list[float]:
        """Give the weight of each of these nodes; classes never timed weigh what the known ones do on average."""
        types = list(node_types)
        known = [cost for cost in map(self._seconds.get, types) if cost is not None]
        usual = sum(known) / len(known) if known else 1.0
        return [max(self._weight(node_type, usual), 1e-3) for node_type in types]

    def _weight(self, node_type: str, usual: float) -> float:
        cost = self._seconds.get(node_type)
        if cost is not None:
            return cost
        return usual * _SAMPLER_WEIGHT if "Sampler" in node_type else usual


@dataclass(slots=True)
class _Node:
    state: NodeState
    value: float
    max: float
    began: float | None
    """None where its beginning was not heard."""
    stepped: float | None = None
    """When the last step was heard, if its predecessor was, too."""
    ended: float | None = None


class RunProgress:
    """What was heard of one executing run. Mutable; `now` gives a moment of it."""

    def __init__(self, graph: Graph | None, costs: NodeCosts, *, since_start: bool) -> None:
        self._graph = graph
        self._types = _types_of(graph)
        self._costs = costs
        self._nodes: dict[str, _Node] = {}
        self._inner: dict[str, dict[str, NodeState]] = {}
        """Nodes of expanded subgraphs by the submitted node that they stand for."""
        self._done = set[str]()
        self._current: str | None = None
        self._stepping: str | None = None
        self._untyped: list[tuple[str, float, int]] = []
        """What was timed while the graph was not known: (node, seconds, steps)."""
        self._whole = False
        self._complete = since_start
        """Whether everything since the start, or since the last gap, was heard: only then beginnings are known."""

    @property
    def graph(self) -> Graph | None:
        """The submitted graph; None while not known."""
        return self._graph

    def learn_graph(self, graph: Graph | None) -> list[Timed]:
        """Take up the graph, now that it is known, and give what was timed before the classes were."""
        if self._graph is not None or graph is None:
            return []
        self._graph = graph
        self._types = _types_of(graph)
        for node_id, node in self._nodes.items():
            self._finish_sources(node_id, include=node.state is NodeState.FINISHED)
        untyped, self._untyped = self._untyped, []
        return [timed for node_id, seconds, steps in untyped for timed in self._timed(node_id, seconds, steps)]

    def missed(self) -> None:
        """Events went unheard: no beginning before now is known for sure."""
        self._complete = False
        for node in self._nodes.values():
            node.began = node.stepped = None

    def restarts_with(self, event: NodesHeard) -> bool:
        """Whether this can only be another run of the same prompt_id: it has not touched what this one finished."""
        if not (event.whole and self._whole):
            return False
        touched = {heard.node_id for heard in event.nodes}
        return any(node.state is NodeState.FINISHED and name not in touched for name, node in self._nodes.items())

    def hear_cached(self, event: NodesCached) -> None:
        """These nodes come from the cache."""
        if len(self._done) < _MOST_DONE:
            self._done.update(event.nodes)

    def hear(self, event: NodesHeard) -> Iterator[Timed]:
        """Take in how nodes are getting on, and say what was timed by it."""
        if event.whole:
            self._whole = True
        elif self._whole and event.nodes[0].value is None:
            return  # `progress_state` tells beginnings and ends better
        for heard in event.nodes:
            yield from self._hear_node(event.at, heard)
        if event.whole:
            self._complete = True
        self._choose_current(event)

    def _hear_node(self, at: float, heard: NodeHeard) -> Iterator[Timed]:
        outer = heard.outer or heard.node_id
        if outer != heard.node_id and outer in self._types:
            inner = self._inner.setdefault(outer, {})
            if len(inner) < _MOST_OUTSIDE:
                inner[heard.node_id] = heard.state
        node = self._nodes.get(heard.node_id)
        if node is None:
            if len(self._nodes) > len(self._types) + _MOST_OUTSIDE:
                return
            if not self._whole:
                yield from self._end_others(at, heard.node_id)
            began = at if self._complete and heard.state is NodeState.RUNNING else None
            node = self._nodes[heard.node_id] = _Node(heard.state, heard.value or 0.0, heard.max, began)
            self._finish_sources(heard.node_id, include=heard.state is NodeState.FINISHED)
            return
        if heard.value is not None:
            samples = list(self._step(at, heard.node_id, node, heard.value, heard.max))
            if heard.state is NodeState.RUNNING:
                yield from samples
            # An end tells the last step of a node whether it took it or not.
        if heard.state is NodeState.FINISHED and node.state is NodeState.RUNNING:
            yield from self._end(at, heard.node_id, node)

    def _step(self, at: float, node_id: str, node: _Node, value: float, most: float) -> Iterator[Timed]:
        steps = value - node.value
        if most == node.max and most > 1 and steps >= 1 and node.value >= 1 and node.stepped is not None:
            yield from self._timed(node_id, max(0.0, at - node.stepped) / steps, int(steps))
        if value != node.value or most != node.max:
            # The first step holds the loading of the model as well, so the time of steps begins after it.
            node.stepped = at if value >= 1 else None
            node.value, node.max = value, most

    def _end(self, at: float, node_id: str, node: _Node) -> Iterator[Timed]:
        node.state, node.ended = NodeState.FINISHED, at
        self._finish_sources(node_id, include=True)
        if node.began is not None:
            yield from self._timed(node_id, max(0.0, at - node.began), 0)

    def _timed(self, node_id: str, seconds: float, steps: int) -> Iterator[Timed]:
        """Give a sample; as long as the graph is not read, and with it the classes of nodes, it waits for that."""
        node_type = self._types.get(node_id)
        if node_type:
            if not steps:
                self._costs.learn(node_type, seconds)
            yield Timed(node_type, seconds, steps)
        elif self._graph is None and len(self._untyped) < _MOST_OUTSIDE:
            self._untyped.append((node_id, seconds, steps))

    def _end_others(self, at: float, but: str) -> Iterator[Timed]:
        """Without `progress_state`, the next node that executes tells that the one before is done."""
        for node_id, node in self._nodes.items():
            if node_id != but and node.state is NodeState.RUNNING and node_id in self._types:
                yield from self._end(at, node_id, node)

    def _finish_sources(self, node_id: str, *, include: bool) -> None:
        if self._graph is None or node_id not in self._graph.nodes:
            return
        waiting = [node_id] if include else list(self._graph.nodes[node_id].sources)
        seen = set[str]()
        while waiting:
            # What is done already need not have its own sources marked: it may have come from the cache.
            source = waiting.pop()
            if source not in seen and source in self._graph.nodes:
                seen.add(source)
                waiting.extend(self._graph.nodes[source].sources)
        self._done |= seen

    def _choose_current(self, event: NodesHeard) -> None:
        for heard in event.nodes:
            if heard.state is NodeState.RUNNING:
                self._current = heard.node_id
        if self._current is not None and self._current in self._nodes and self._nodes[self._current].max > 1:
            self._stepping = self._current
        current = self._nodes.get(self._current or "")
        if current is not None and current.state is NodeState.FINISHED:
            running = [node_id for node_id, node in self._nodes.items() if node.state is NodeState.RUNNING]
            self._current = running[-1] if running else self._current

    # What is shown

    def now(self, at: float, least: float) -> Progress:
        """Give the moment; the percent is at least this much."""
        node_now = None
        node = self._nodes.get(self._current or "")
        if node is not None and self._current is not None:
            outer = next((outer for outer, inner in self._inner.items() if self._current in inner), self._current)
            node_now = NodeNow(outer, self._types.get(outer), node.value, node.max)
        stepping = self._nodes.get(self._stepping or "")
        return Progress(
            max(least, min(NEARLY, self._percent(at))),
            estimated=self._graph is None,
            node=node_now,
            step=int(stepping.value) if stepping is not None else 0,
            steps=int(stepping.max) if stepping is not None else 0,
        )

    def _percent(self, at: float) -> float:
        if self._graph is None:
            return 0.0
        weights = self._costs.weights(node.class_type for node in self._graph.nodes.values())
        done = sum(
            weight * self._share(at, node_id, weight)
            for node_id, weight in zip(self._graph.nodes, weights, strict=True)
        )
        return round(100.0 * done / sum(weights), 1)

    def _share(self, at: float, node_id: str, weight: float) -> float:
        if node_id in self._done:
            return 1.0
        node = self._nodes.get(node_id)
        if node is None:
            return 0.0
        inner = self._inner.get(node_id)
        if inner:
            return sum(state is NodeState.FINISHED for state in inner.values()) / (len(inner) + 1)
        if node.max > 1:
            return node.value / node.max
        known = self._costs.known(self._types.get(node_id, ""))
        return min(0.9, (at - node.began) / weight) if node.began is not None and known else 0.0

    def report(self, at: float) -> tuple[NodeReport, ...]:
        """Give every node, those of the submitted graph first."""
        types = self._types
        return tuple(
            self._report(at, node_id, types.get(node_id))
            for node_id in (*types, *(node_id for node_id in self._nodes if node_id not in types))
        )

    def _report(self, at: float, node_id: str, node_type: str | None) -> NodeReport:
        node = self._nodes.get(node_id)
        if node is None:
            state = "cached" if node_id in self._done else "pending"
            return NodeReport(node_id, node_type, state, float(state == "cached"), 1.0, None)
        seconds = None if node.began is None else max(0.0, (node.ended or at) - node.began)
        return NodeReport(node_id, node_type, node.state.value, node.value, node.max, seconds)


def _types_of(graph: Graph | None) -> Mapping[str, str]:
    return {} if graph is None else {node_id: node.class_type for node_id, node in graph.nodes.items()}
