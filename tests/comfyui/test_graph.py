"""Which classes a graph has and which nodes its outputs need."""

from __future__ import annotations

import json

import msgspec
import pytest

from comfyui_exporter.comfyui.graph import GraphReader, class_types, needed_nodes

GRAPH = {
    "1": {"class_type": "Load", "inputs": {}},
    "2": {"class_type": "Sample", "inputs": {"model": ["1", 0], "seed": 5}},
    "3": {"class_type": "Save", "inputs": {"images": ["2", 0], "prefix": "x"}},
    "4": {"class_type": "Save", "inputs": {"images": ["1", 0]}},
}


def raw(value):
    return msgspec.Raw(json.dumps(value).encode())


def needed(graph, requested):
    read = GraphReader().read(needed_nodes(raw(graph), raw(requested)))
    return set() if read is None else set(read.nodes)


def test_the_nodes_that_an_output_depends_on_are_needed_and_no_others():
    assert needed(GRAPH, ["3"]) == {"1", "2", "3"}
    assert needed(GRAPH, ["4"]) == {"1", "4"}
    assert needed(GRAPH, ["3", "4"]) == {"1", "2", "3", "4"}
    assert needed(GRAPH, []) == set()


def test_a_circle_has_an_end():
    graph = {"1": {"inputs": {"a": ["2", 0]}}, "2": {"inputs": {"a": ["1", 0]}}}
    assert needed(graph, ["1"]) == {"1", "2"}


def test_a_chain_of_many_thousand_nodes_is_followed():
    graph = {str(n): {"inputs": {"a": [str(n + 1), 0]}} for n in range(20_000)}
    assert len(needed(graph, ["0"])) == 20_000


@pytest.mark.parametrize(
    "value", [[], ["2"], ["2", 0, 1], [2, 0], [["2"], 0], "2", {"2": 0}, None, ["missing", 0], ["2", 0] * 200]
)
def test_what_is_no_link_leads_nowhere(value):
    assert needed({"1": {"inputs": {"a": value}}, "2": {}}, ["1"]) == {"1"}


@pytest.mark.parametrize("inputs", [None, [], ["2", 0], 5, "x", True])
def test_a_node_without_readable_inputs_is_needed_and_hides_no_other(inputs):
    graph = {"1": {"inputs": {"a": ["2", 0], "b": ["3", 0]}}, "2": {"inputs": inputs}, "3": {}}
    assert needed(graph, ["1"]) == {"1", "2", "3"}


@pytest.mark.parametrize("node", [None, 5, "x", [], True])
def test_a_node_that_is_none_hides_no_other(node):
    graph = {**GRAPH, "9": node}
    assert needed(graph, ["4"]) == {"1", "4"}
    assert class_types(raw(graph)) == {"Load", "Sample", "Save"}


@pytest.mark.parametrize("odd", [5, None, [], {}, "missing"])
def test_a_requested_output_that_is_none_hides_no_other(odd):
    assert needed(GRAPH, [odd, "4"]) == {"1", "4"}


@pytest.mark.parametrize("odd", [5, None, "x", [], True])
def test_what_is_no_graph_has_nothing(odd):
    assert needed(odd, ["1"]) == frozenset()
    assert needed(GRAPH, odd) == frozenset()
    assert class_types(raw(odd)) == frozenset()


def test_class_names_are_bounded_and_only_text():
    graph = {"1": {"class_type": "x" * 5_000}, "2": {"class_type": 5}, "3": {}, "4": {"class_type": ""}}
    assert class_types(raw(graph)) == {"x" * 200}
