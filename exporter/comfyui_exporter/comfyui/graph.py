"""The submitted graph: which node classes it has, and which nodes its requested outputs need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from comfyui_exporter.comfyui.json import NULL, PayloadError, decode, text, value_of

_MAX_CLASS = 200
_BRACKET = ord("[")
_MAX_LINK = 400
"""A link is `[node_id, slot]`; what is longer is a widget's value."""


class _Node(msgspec.Struct):
    class_type: object = None


class _LinkedNode(msgspec.Struct):
    inputs: msgspec.Raw = NULL


_nodes = msgspec.json.Decoder(dict[str, msgspec.Raw])
_node = msgspec.json.Decoder(_Node)
_classes = msgspec.json.Decoder(dict[str, _Node])
_linked_node = msgspec.json.Decoder(_LinkedNode)
_inputs = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ids = msgspec.json.Decoder(list[object])


def class_types(graph: msgspec.Raw) -> frozenset[str]:
    """Read the node classes of a graph; empty for what is no graph."""
    try:
        nodes = list(decode(_classes, graph).values())
    except PayloadError:
        nodes = list(_readable(graph))
    return frozenset(text(node.class_type, _MAX_CLASS) for node in nodes) - {""}


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


def needed_nodes(graph: msgspec.Raw, requested: msgspec.Raw) -> frozenset[str]:
    """Find the nodes that the requested outputs depend on, themselves included.

    ComfyUI executes only these: an input `[node_id, slot]` is a link to another node.
    """
    try:
        nodes = decode(_nodes, graph)
        outputs = decode(_ids, requested)
    except PayloadError:
        return frozenset()
    return frozenset(_reach(outputs, nodes))


def _reach(outputs: Iterable[object], nodes: Mapping[str, msgspec.Raw]) -> set[str]:
    reached = set[str]()
    waiting = [node_id for node_id in outputs if isinstance(node_id, str) and node_id in nodes]
    while waiting:
        node_id = waiting.pop()
        if node_id in reached:
            continue
        reached.add(node_id)
        waiting.extend(source for source in _sources(nodes[node_id]) if source in nodes)
    return reached


def _sources(node: msgspec.Raw) -> Iterator[str]:
    """Read which nodes one node takes its inputs from; none for what has no readable inputs."""
    try:
        inputs = decode(_inputs, decode(_linked_node, node).inputs)
    except PayloadError:
        return
    for raw in inputs.values():
        data = memoryview(raw)
        if len(data) > _MAX_LINK or data[0] != _BRACKET:
            continue
        link = value_of(raw)
        if isinstance(link, list) and len(link) == 2 and isinstance(link[0], str):
            yield link[0]
