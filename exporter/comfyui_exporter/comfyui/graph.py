"""The submitted graph: which node classes it has, and which nodes its requested outputs need."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from sys import intern

import msgspec

from comfyui_exporter.comfyui.json import NULL, PayloadError, decode, text
from comfyui_exporter.tracker.observations import Graph, GraphNode

MAX_CLASS = 200
MAX_NODE_ID = 200
_MOST_NODES = 20_000
_SHAPES_KEPT = 500
"""Shapes of graphs remembered; with more than that in turn only memory is lost."""

_BRACKET = ord("[")
_MAX_LINK = 400
"""A link is `[node_id, slot]`; what is longer is a widget's value."""


class _Node(msgspec.Struct):
    class_type: object = None


class _LinkedNode(msgspec.Struct):
    class_type: object = None
    inputs: msgspec.Raw = NULL


_nodes = msgspec.json.Decoder(dict[str, msgspec.Raw])
_node = msgspec.json.Decoder(_Node)
_classes = msgspec.json.Decoder(dict[str, _Node])
_linked_node = msgspec.json.Decoder(_LinkedNode)
_inputs = msgspec.json.Decoder(dict[str, msgspec.Raw])
_link = msgspec.json.Decoder(tuple[str, object])
_ids = msgspec.json.Decoder(list[object])


def class_types(graph: msgspec.Raw) -> frozenset[str]:
    """Read the node classes of a graph; empty for what is no graph."""
    try:
        nodes = list(decode(_classes, graph).values())
    except PayloadError:
        nodes = list(_readable(graph))
    return frozenset(text(node.class_type, MAX_CLASS) for node in nodes) - {""}


def _readable(graph: msgspec.Raw) -> Iterator[_Node]:
    """Read the nodes of a graph one by one, since one of them is none."""
    try:
        raws = decode(_nodes, graph)
    except PayloadError:
        return
    for raw in raws.values():
        try:
            yield decode(_node, raw)
        except PayloadError:
            continue


@dataclass(slots=True)
class NeededNode:
    """A node that the requested outputs depend on, as it was submitted."""

    class_type: str
    inputs: Mapping[str, msgspec.Raw]
    sources: tuple[str, ...]
    """Ids of the nodes that its inputs link to."""
    raw: msgspec.Raw
    """All of it."""


def needed_nodes(graph: msgspec.Raw, requested: msgspec.Raw) -> dict[str, NeededNode]:
    """Read the nodes that the requested outputs depend on, themselves included; none for what is no graph.

    ComfyUI executes only these: an input `[node_id, slot]` is a link to another node.
    """
    try:
        nodes = decode(_nodes, graph)
        outputs = decode(_ids, requested)
    except PayloadError:
        return {}
    reached = dict[str, NeededNode]()
    waiting = [node_id for node_id in outputs if isinstance(node_id, str) and node_id in nodes]
    while waiting and len(reached) < _MOST_NODES:
        node_id = waiting.pop()
        if node_id in reached:
            continue
        node = _needed_node(nodes[node_id], nodes)
        reached[text(node_id, MAX_NODE_ID)] = node
        waiting.extend(node.sources)
    return reached


class GraphReader:
    """Reads submitted graphs. Jobs of one shape get the same object, so that a deep queue costs little memory."""

    def __init__(self) -> None:
        self._shapes: OrderedDict[str, Graph] = OrderedDict()

    def read(self, nodes: Mapping[str, NeededNode]) -> Graph | None:
        """Make the graph of these nodes; None if there are none."""
        if not nodes:
            return None
        shape = _shape_of(nodes)
        known = self._shapes.pop(shape, None) or Graph(
            {node_id: GraphNode(node.class_type, node.sources) for node_id, node in nodes.items()}, shape
        )
        self._shapes[shape] = known
        if len(self._shapes) > _SHAPES_KEPT:
            self._shapes.popitem(last=False)
        return known


def _needed_node(raw: msgspec.Raw, nodes: Mapping[str, msgspec.Raw]) -> NeededNode:
    try:
        node = decode(_linked_node, raw)
    except PayloadError:
        return NeededNode("", {}, (), raw)
    class_type = intern(text(node.class_type, MAX_CLASS))
    try:
        inputs = decode(_inputs, node.inputs)
    except PayloadError:
        return NeededNode(class_type, {}, (), raw)
    sources = dict[str, None]()
    for value in inputs.values():
        # Most are plain values, and a deep queue has many thousand of them.
        if memoryview(value)[0] == _BRACKET and (source := link_of(value)) is not None and source in nodes:
            sources[source] = None
    return NeededNode(class_type, inputs, tuple(sources), raw)


def link_of(value: msgspec.Raw) -> str | None:
    """Read which node an input links to; None if it is a value."""
    data = memoryview(value)
    if len(data) > _MAX_LINK or data[0] != _BRACKET:
        return None
    try:
        return decode(_link, value)[0]
    except PayloadError:
        return None


def _shape_of(nodes: Mapping[str, NeededNode]) -> str:
    parts = sorted((node_id, node.class_type, *node.sources) for node_id, node in nodes.items())
    return blake2b(msgspec.json.encode(parts), digest_size=12).hexdigest()
