"""The submitted graph: which node classes it has, and which nodes its requested outputs need."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
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


class GraphReader:
    """Reads submitted graphs. Jobs of one shape get the same object, so that a deep queue costs little memory."""

    def __init__(self) -> None:
        self._shapes: OrderedDict[str, Graph] = OrderedDict()

    def read(self, graph: msgspec.Raw, requested: msgspec.Raw) -> Graph | None:
        """Read the nodes that the requested outputs depend on, themselves included; None for what is no graph.

        ComfyUI executes only these: an input `[node_id, slot]` is a link to another node.
        """
        nodes = _needed(graph, requested)
        if not nodes:
            return None
        shape = _shape_of(nodes)
        known = self._shapes.pop(shape, None) or Graph(nodes, shape)
        self._shapes[shape] = known
        if len(self._shapes) > _SHAPES_KEPT:
            self._shapes.popitem(last=False)
        return known


def _needed(graph: msgspec.Raw, requested: msgspec.Raw) -> dict[str, GraphNode]:
    try:
        nodes = decode(_nodes, graph)
        outputs = decode(_ids, requested)
    except PayloadError:
        return {}
    reached = dict[str, GraphNode]()
    waiting = [node_id for node_id in outputs if isinstance(node_id, str) and node_id in nodes]
    while waiting and len(reached) < _MOST_NODES:
        node_id = waiting.pop()
        if node_id in reached:
            continue
        node = _graph_node(nodes[node_id], nodes)
        reached[text(node_id, MAX_NODE_ID)] = node
        waiting.extend(node.sources)
    return reached


def _graph_node(raw: msgspec.Raw, nodes: Mapping[str, msgspec.Raw]) -> GraphNode:
    try:
        node = decode(_linked_node, raw)
    except PayloadError:
        return GraphNode("")
    return GraphNode(
        intern(text(node.class_type, MAX_CLASS)),
        tuple(dict.fromkeys(source for source in _sources(node) if source in nodes)),
    )


def _sources(node: _LinkedNode) -> Iterator[str]:
    """Read which nodes one node takes its inputs from; none for what has no readable inputs."""
    try:
        inputs = decode(_inputs, node.inputs)
    except PayloadError:
        return
    for raw in inputs.values():
        data = memoryview(raw)
        if len(data) > _MAX_LINK or data[0] != _BRACKET:
            continue
        try:
            yield decode(_link, raw)[0]
        except PayloadError:
            continue


def _shape_of(nodes: Mapping[str, GraphNode]) -> str:
    parts = sorted((node_id, node.class_type, *node.sources) for node_id, node in nodes.items())
    return blake2b(msgspec.json.encode(parts), digest_size=12).hexdigest()
