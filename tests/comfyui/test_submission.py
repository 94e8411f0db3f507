"""What is taken from a submission: tags in extra_data, and the job type that its graph stands for."""

from __future__ import annotations

import json

import msgspec
import pytest

from comfyui_exporter.comfyui.graph import class_types, needed_nodes
from comfyui_exporter.comfyui.submission import JobTypeRule, SubmissionReader
from comfyui_exporter.tracker.observations import Details

VIDEO = JobTypeRule("video", ("VHS_*", "SaveVideo"))
IMAGE = JobTypeRule("image", ("SaveImage",))


def raw(value):
    return msgspec.Raw(value if isinstance(value, bytes) else json.dumps(value).encode())


def graph(*classes):
    return {str(n): {"class_type": name, "inputs": {}} for n, name in enumerate(classes)}


def read(extra_data=None, prompt=None, *, rules=(), labels=()):
    return SubmissionReader(rules, labels).read(raw(extra_data), raw({} if prompt is None else prompt))


@pytest.mark.parametrize("extra", [None, [], [1], 5, "x", True, {}, {"client_id": 5}])
def test_extra_data_without_tags_is_nothing_given(extra):
    assert read(extra) == Details()


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (123, "123"),
        ("123", "123"),
        (0, "0"),
        (-5, "-5"),
        (2**70, str(2**70)),
        (1.5, "1.5"),
        ("", None),
        (None, None),
        (True, None),
        (False, None),
        ([1], None),
        ({"x": 1}, None),
        ("é\u0000\n", "é\u0000\n"),
        ("x" * 201, "x" * 200),
        ("x" * 30_000, None),
        (int("9" * 300), "9" * 200),
    ],
)
def test_a_tag_is_a_short_string_or_a_number(given, taken):
    assert read({"batch_id": given}) == Details(batch_id=taken)
    assert read({"job_type": given}).job_type == (taken or "unknown")
    assert read({"project": given}, labels=["project"]).labels == (taken or "",)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (123, 123),
        (0, 0),
        (-5, -5),
        ("123", "123"),
        (1.5, "1.5"),
        (True, None),
        ("", None),
        (2**53 - 1, 2**53 - 1),
        (2**70, str(2**70)),
        (int("9" * 300), "9" * 200),
    ],
)
def test_a_job_id_stays_the_number_or_the_text_that_it_was_given_as(given, taken):
    job_id = read({"job_id": given}).job_id
    assert (job_id, type(job_id)) == (taken, type(taken))


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (1, 1),
        (1795473926579, 1795473926579),
        (5.9, 5),
        (0, None),
        (-1, None),
        (10**14, None),
        (True, None),
        ("5", None),
    ],
)
def test_a_create_time_is_a_number_of_milliseconds(given, taken):
    assert read({"create_time": given}) == Details(created_ms=taken)


def test_job_labels_are_taken_in_their_order_and_absent_ones_are_empty():
    assert read({"b": 2, "a": "x"}, labels=["a", "c", "b"]).labels == ("x", "", "2")
    assert read(None, labels=["a", "c"]).labels == ("", "")


def test_nothing_else_is_kept():
    details = read({"job_id": 1, "api_key_comfy_org": "secret", "token": "secret"}, labels=["project"])
    assert "secret" not in repr(details)


def test_one_bad_tag_hides_no_other():
    body = b'{"job_id": "' + b"x" * 30_000 + rb'", "batch_id": "\ud800", "job_type": "v", "create_time": NaN}'
    assert read(body) == Details(job_type="v", batch_id="\ufffd")


# Job types


def test_the_first_rule_that_matches_wins():
    both = graph("SaveImage", "VHS_VideoCombine")
    assert read(None, both, rules=[VIDEO, IMAGE]).job_type == "video"
    assert read(None, both, rules=[IMAGE, VIDEO]).job_type == "image"


@pytest.mark.parametrize(
    ("classes", "job_type"),
    [
        (["SaveVideo"], "video"),
        (["VHS_"], "video"),
        (["VHS_VideoCombine"], "video"),
        (["XVHS_VideoCombine"], "unknown"),
        (["savevideo"], "unknown"),
        (["vhs_x"], "unknown"),
        (["SaveVideo2"], "unknown"),
        (["KSampler", "SaveImage"], "image"),
        ([], "unknown"),
        ([""], "unknown"),
    ],
)
def test_patterns_match_whole_class_names_as_they_are_written(classes, job_type):
    assert read(None, graph(*classes), rules=[VIDEO, IMAGE]).job_type == job_type


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("K?ampler", "KSampler", True),
        ("[KX]Sampler", "KSampler", True),
        ("*", "x", True),
        ("a.b", "axb", False),
        ("*[", "x[", True),
    ],
)
def test_patterns_are_globs(pattern, name, matches):
    found = read(None, graph(name), rules=[JobTypeRule("t", (pattern,))]).job_type
    assert found == ("t" if matches else "unknown")


def test_a_job_type_in_extra_data_wins_over_the_rules():
    assert read({"job_type": "mine"}, graph("SaveVideo"), rules=[VIDEO]).job_type == "mine"
    assert read({"job_type": 5}, graph("SaveVideo"), rules=[VIDEO]).job_type == "5"


@pytest.mark.parametrize("odd", [None, "", True, [], {}])
def test_a_job_type_that_is_none_leaves_it_to_the_rules(odd):
    assert read({"job_type": odd}, graph("SaveVideo"), rules=[VIDEO]).job_type == "video"


def test_a_rule_without_patterns_matches_nothing():
    assert read(None, graph("X"), rules=[JobTypeRule("t", ())]).job_type == "unknown"


# Graphs


@pytest.mark.parametrize("odd", [None, 5, "x", True, [], [1], {}, {"1": None}, {"1": {}}, {"1": {"class_type": 5}}])
def test_what_is_no_graph_has_no_classes(odd):
    assert class_types(raw(odd)) == frozenset()
    assert read(None, odd, rules=[VIDEO]).job_type == "unknown"


def test_class_names_are_bounded():
    assert class_types(raw(graph("x" * 1_000))) == {"x" * 200}


def test_a_link_to_a_node_that_is_not_there_is_no_link():
    nodes = {
        "1": {"inputs": {"a": ["2", 0], "b": ["nobody", 0], "c": ["3"], "d": [3, 0], "e": ["2", 0, 1]}},
        "2": {},
        "3": {},
    }
    assert set(needed_nodes(raw(nodes), raw(["1", "gone"]))) == {"1", "2"}


def test_a_widgets_value_that_is_long_is_no_link():
    nodes = {"1": {"inputs": {"a": ["2", " " * 500]}}, "2": {}}
    assert set(needed_nodes(raw(nodes), raw(["1"]))) == {"1"}


def test_a_link_with_spaces_around_it_is_a_link():
    graph = raw(b'{"1": {"inputs": {"a":   [ "2" , 0 ] }}, "2": {}}')
    assert set(needed_nodes(graph, raw(b' [ "1" ] '))) == {"1", "2"}
