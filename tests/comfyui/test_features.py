"""What of a submitted graph tells how long its job takes."""

from __future__ import annotations

import copy
import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.comfyui.submission import SubmissionReader
from comfyui_exporter.tracker.observations import Features

IMAGE = {
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd_xl_base_1.0.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 832, "height": 1216, "batch_size": 2}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lighthouse", "clip": ["4", 1]}},
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 5,
            "steps": 30,
            "cfg": 7,
            "sampler_name": "euler",
            "scheduler": "karras",
            "denoise": 1,
            "model": ["4", 0],
            "positive": ["6", 0],
            "latent_image": ["5", 0],
        },
    },
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "ComfyUI"}},
}


def raw(value):
    return msgspec.Raw(value if isinstance(value, bytes) else json.dumps(value).encode())


def features(graph, requested=("9",), reader=None):
    return (reader or SubmissionReader()).read(raw({}), raw(graph), raw(list(requested))).features


def changed(node, **inputs):
    graph = copy.deepcopy(IMAGE)
    graph[node]["inputs"] |= inputs
    return graph


def alone(**inputs):
    """The features of a graph of one node."""
    return features({"1": {"class_type": "X", "inputs": inputs}}, ["1"])


# How much work there is


def test_a_usual_graph_tells_steps_pixels_batch_and_model():
    read = features(IMAGE)
    assert (read.steps, read.pixels, read.frames, read.batch) == (30, 832 * 1216, 0, 2)
    assert read.model == "sd_xl_base_1.0.safetensors"


@pytest.mark.parametrize("name", ["length", "num_frames", "frames", "video_frames"])
def test_a_video_tells_its_frames(name):
    assert alone(width=640, height=480, **{name: 81}).frames == 81


def test_sound_tells_its_seconds():
    assert alone(seconds=47.6).frames == 47.6
    assert alone(seconds=47.6, length=16).frames == 16


def test_the_steps_of_all_samplers_add_up():
    graph = copy.deepcopy(IMAGE)
    graph["10"] = {"class_type": "KSampler", "inputs": {"steps": 12, "latent_image": ["3", 0]}}
    graph["8"]["inputs"]["samples"] = ["10", 0]
    assert features(graph).steps == 42


@pytest.mark.parametrize(
    ("steps", "start", "end", "done"), [(30, 0, 20, 20), (30, 20, 10_000, 10), (30, 0, 0, 30), (30, 40, 50, 0)]
)
def test_a_sampler_that_does_a_part_counts_that_part(steps, start, end, done):
    assert alone(steps=steps, start_at_step=start, end_at_step=end).steps == done


def test_the_largest_image_counts():
    graph = {
        "1": {"inputs": {"width": 512, "height": 512}},
        "2": {"inputs": {"width": 2048, "height": 1024, "image": ["1", 0]}},
    }
    assert features(graph, ["2"]).pixels == 2048 * 1024
    assert alone(megapixels=1.5).pixels == 1_500_000


def test_only_nodes_that_the_outputs_need_count():
    graph = copy.deepcopy(IMAGE)
    graph["20"] = {"class_type": "KSampler", "inputs": {"steps": 1_000}}
    assert features(graph) == features(IMAGE)


@pytest.mark.parametrize("hands_on", ["value", "int", "number", "any"])
def test_a_number_that_another_node_hands_on_is_followed(hands_on):
    graph = changed("3", steps=["30", 0])
    graph["30"] = {"class_type": "PrimitiveInt", "inputs": {hands_on: ["31", 0]}}
    graph["31"] = {"class_type": "PrimitiveInt", "inputs": {"value": 17}}
    assert features(graph).steps == 17


def test_a_number_that_is_handed_round_in_a_circle_is_none():
    graph = changed("3", steps=["30", 0])
    graph["30"] = {"inputs": {"value": ["31", 0]}}
    graph["31"] = {"inputs": {"value": ["30", 0]}}
    assert features(graph).steps == 0


def test_a_number_from_a_node_that_computes_it_is_not_known():
    graph = changed("3", steps=["30", 0])
    graph["30"] = {"class_type": "MathExpression", "inputs": {"expression": "a+b"}}
    assert features(graph).steps == 0


@pytest.mark.parametrize("name", ["ckpt_name", "unet_name", "model_name"])
def test_the_model_is_found_by_the_usual_names(name):
    assert alone(**{name: "wan2.2.safetensors"}).model == "wan2.2.safetensors"


def test_a_checkpoint_is_the_model_before_that_which_scales_its_image_up():
    graph = copy.deepcopy(IMAGE)
    graph["9"]["inputs"]["model_name"] = "4x-UltraSharp.pth"
    assert features(graph).model == "sd_xl_base_1.0.safetensors"


# What is the same


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        ("3", {"seed": 6}),
        ("3", {"cfg": 7.5}),
        ("6", {"text": "another prompt"}),
        ("9", {"filename_prefix": "mine"}),
    ],
)
def test_seeds_texts_and_taste_leave_the_fingerprint_as_it_is(node, inputs):
    assert features(changed(node, **inputs)).fingerprint == features(IMAGE).fingerprint
    assert features(changed(node, **inputs)).content != features(IMAGE).content


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        ("3", {"steps": 31}),
        ("3", {"sampler_name": "heun"}),
        ("3", {"denoise": 0.5}),
        ("3", {"a_setting_of_a_custom_node": 3}),
        ("3", {"tiled": True}),
        ("5", {"width": 1024}),
        ("5", {"batch_size": 1}),
        ("4", {"ckpt_name": "other.safetensors"}),
    ],
)
def test_what_may_change_the_time_changes_the_fingerprint(node, inputs):
    assert features(changed(node, **inputs)).fingerprint != features(IMAGE).fingerprint
    assert features(changed(node, **inputs)).shape == features(IMAGE).shape or node == "x"


def test_another_graph_has_another_fingerprint():
    graph = copy.deepcopy(IMAGE)
    graph["8"]["class_type"] = "VAEDecodeTiled"
    assert features(graph).fingerprint != features(IMAGE).fingerprint


def test_the_order_in_which_nodes_are_written_means_nothing():
    assert features(dict(reversed(IMAGE.items()))) == features(IMAGE)


def test_another_file_name_is_the_same_costly_part_and_another_seed_is_not():
    assert features(changed("9", filename_prefix="mine")).costly == features(IMAGE).costly
    assert features(changed("3", seed=6)).costly != features(IMAGE).costly
    assert features(changed("6", text="other")).costly != features(IMAGE).costly


def test_without_a_sampler_all_but_the_outputs_are_the_costly_part():
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    other = copy.deepcopy(graph)
    other["2"]["inputs"]["filename_prefix"] = "y"
    assert features(graph, ["2"]).costly == features(other, ["2"]).costly != ""
    other["1"]["inputs"]["image"] = "b.png"
    assert features(graph, ["2"]).costly != features(other, ["2"]).costly
    assert alone(image="a.png").costly == ""


# What submitters may send


@pytest.mark.parametrize(
    "value",
    [None, "30", True, [], {}, [1], ["9"], ["gone", 0], -5, 0, 1e300, 10**400, -(10**400), "x" * 100_000, [[["deep"]]]],
)
@pytest.mark.parametrize("name", ["steps", "width", "length", "batch_size", "seconds", "megapixels"])
def test_what_is_no_number_is_not_given(name, value):
    read = alone(**{name: value, "height": 64})
    assert (read.steps, read.pixels, read.frames, read.batch) == (0, 0, 0, 0)


def test_a_number_that_is_none_is_not_given():
    graph = raw(
        b'{"1": {"class_type": "X", "inputs": {"steps": NaN, "width": Infinity, "height": 8, "batch_size": 3}}}'
    )
    read = SubmissionReader().read(raw({}), graph, raw(["1"])).features
    assert (read.steps, read.pixels, read.batch) == (0, 0, 3)


def test_sizes_are_bounded_even_if_each_number_is_small_enough():
    assert alone(width=10**12, height=10**12).pixels == 1e12


def test_a_model_is_bounded_and_can_be_written():
    assert alone(ckpt_name="m" * 5_000).model == "m" * 100
    assert alone(ckpt_name="\ud800.safetensors").model == "\ufffd.safetensors"


@pytest.mark.parametrize("graph", [None, [], 5, "x", {}, {"2": {}}])
def test_what_is_no_graph_has_no_features(graph):
    assert features(graph) is None


@given(
    st.dictionaries(
        st.sampled_from(
            ["steps", "start_at_step", "end_at_step", "width", "height", "seed", "length", "ckpt_name", "é"]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
            max_leaves=5,
        ),
    )
)
def test_any_inputs_are_read_bounded_and_survive_being_written_down(inputs):
    read = alone(**inputs)
    for number in (read.steps, read.pixels, read.frames, read.batch):
        assert math.isfinite(number)
        assert 0 <= number <= 1e12
    assert len(read.model) <= 100
    assert msgspec.json.decode(msgspec.json.encode(read), type=Features) == read


def test_jobs_of_one_workflow_share_what_they_can():
    reader = SubmissionReader()
    one, other = features(IMAGE, reader=reader), features(changed("3", seed=6), reader=reader)
    assert one != other
    assert one.fingerprint is other.fingerprint
    assert one.shape is other.shape
    assert one.model is other.model
