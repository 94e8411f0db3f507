"""The submitted graph: which node classes it has, and which nodes its requested outputs need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from comfyui_exporter.comfyui.json import PayloadError, decode, text, value_of

_MAX_CLASS = 200
_BRACKET = ord("[")
_MAX_LINK = 400
"""A link is `[node_id, slot]`; what is longer is a widget's value."""


class _Node(msgspec.Struct):
    class_type: object = None


class _LinkedNode(msgspec.Struct):
    inputs: dict[str, msgspec.Raw] | None = None


_classes = msgspec.json.Decoder(dict[str, _Node])
_links = msgspec.json.Decoder(dict[str, _LinkedNode])
_ids = msgspec.json.Decoder(list[str])


def class_types(graph: msgspec.Raw) -> frozenset[str]:
    """Read the node classes of a graph; empty for what is no graph."""
    try:
        nodes = decode(_classes, graph)
    except PayloadError:
        return frozenset()
    return frozenset(text(node.class_type, _MAX_CLASS) for node in nodes.values()) - {""}


def needed_nodes(graph: msgspec.Raw, requested: msgspec.Raw) -> frozenset[str]:
    """Find the nodes that the requested outputs depend on, themselves included.

    ComfyUI executes only these: an input `[node_id, slot]` is a link to another node.
    """
    try:
        nodes = decode(_links, graph)
        outputs = decode(_ids, requested)
    except PayloadError:
        return frozenset()
    return frozenset(_reach(outputs, nodes))


def _reach(outputs: Iterable[str], nodes: Mapping[str, _LinkedNode]) -> set[str]:
    reached = set[str]()
    waiting = [node_id for node_id in outputs if node_id in nodes]
    while waiting:
        node_id = waiting.pop()
        if node_id in reached:
            continue
        reached.add(node_id)
        for raw in (nodes[node_id].inputs or {}).values():
            data = memoryview(raw)
            if len(data) > _MAX_LINK or data[0] != _BRACKET:
                continue
            link = value_of(raw)
            if isinstance(link, list) and len(link) == 2 and isinstance(link[0], str) and link[0] in nodes:
                waiting.append(link[0])
    return reached
