"""What a job put out, and of which kind it is."""

from __future__ import annotations

import json

import msgspec
import pytest

from comfyui_exporter.comfyui.outputs import MAX_OUTPUTS, read_outputs
from comfyui_exporter.tracker.observations import Media, Output


def read(outputs, cached=()):
    return read_outputs(msgspec.Raw(json.dumps(outputs).encode()), frozenset(cached))


def media_of(key, file, **more):
    (output,), _ = read({"1": {key: [file], **more}})
    return output.media


@pytest.mark.parametrize(
    ("key", "name", "media"),
    [
        ("images", "a.png", Media.IMAGES),
        ("images", "a.WEBP", Media.IMAGES),
        ("images", "a.mp4", Media.VIDEO),
        ("gifs", "a.gif", Media.VIDEO),
        ("gifs", "a.png", Media.IMAGES),
        ("gifs", "a", Media.VIDEO),
        ("video", "a", Media.VIDEO),
        ("audio", "a.flac", Media.AUDIO),
        ("audio", "a", Media.AUDIO),
        ("images", "a.wav", Media.AUDIO),
        ("3d", "a.glb", Media.THREE_D),
        ("result", "a.glb", Media.THREE_D),
        ("files", "a.txt", Media.TEXT),
        ("files", "a.bin", Media.OTHER),
        ("files", ".png", Media.OTHER),
    ],
)
def test_the_ending_tells_the_kind_and_the_key_where_it_does_not(key, name, media):
    assert media_of(key, {"filename": name}) is media


@pytest.mark.parametrize(
    ("format_", "media"), [("video/h264-mp4", Media.VIDEO), ("audio/x", Media.AUDIO), ("image/x", Media.IMAGES)]
)
def test_a_format_tells_the_kind_of_a_file_without_a_known_ending(format_, media):
    assert media_of("files", {"filename": "a.bin", "format": format_}) is media


@pytest.mark.parametrize(
    ("animated", "media"),
    [([True], Media.VIDEO), ([False], Media.IMAGES), ([], Media.IMAGES), (True, Media.IMAGES), (None, Media.IMAGES)],
)
def test_an_animated_image_is_a_video(animated, media):
    assert media_of("images", {"filename": "a.webp"}, animated=animated) is media


def test_animated_goes_file_by_file_and_the_last_stands_for_the_rest():
    files = [{"filename": f"{n}.webp"} for n in range(3)]
    _, counts = read({"1": {"images": files, "animated": [False, True]}})
    assert counts == {Media.IMAGES: 1, Media.VIDEO: 2}


@pytest.mark.parametrize("kind", ["temp", "input"])
def test_previews_and_inputs_are_not_produced(kind):
    assert read({"1": {"images": [{"filename": "a.png", "type": kind}]}}) == ((), {})


def test_a_file_is_kept_with_its_place():
    file = {"filename": "a.png", "subfolder": "s/t", "type": "output"}
    assert read({"4.0.0.1": {"images": [file]}})[0] == (Output("4.0.0.1", Media.IMAGES, "a.png", "s/t", "output"),)


def test_strings_are_text_or_three_dimensional_files_or_nothing():
    outputs, counts = read({"1": {"text": ["hello", ""], "result": ["m.glb", "camera", "a.png"], "bare": "x.glb"}})
    assert counts == {Media.TEXT: 2, Media.THREE_D: 1}
    assert [output.filename for output in outputs] == ["", "", "m.glb"]


def test_text_of_any_length_is_one_text_and_is_not_kept():
    outputs, counts = read({"1": {"text": ["x" * 10_000_000]}})
    assert counts == {Media.TEXT: 1}
    assert outputs == (Output("1", Media.TEXT),)


def test_cached_nodes_are_left_out():
    file = {"images": [{"filename": "a.png"}]}
    assert read({"1": file, "2": file}, cached=["1"])[1] == {Media.IMAGES: 1}


@pytest.mark.parametrize(
    "odd", [5, None, True, [], [[]], {}, {"type": "output"}, {"filename": 5}, {"filename": ""}, {"filename": None}]
)
def test_what_is_no_file_is_passed_over_and_hides_no_other(odd):
    outputs, counts = read({"0": odd, "1": {"odd": odd, "images": [odd, {"filename": "a.png"}]}})
    assert counts == {Media.IMAGES: 1}
    assert len(outputs) == 1


def test_more_outputs_than_are_kept_are_still_counted():
    outputs, counts = read({"1": {"images": [{"filename": f"{n}.png"} for n in range(MAX_OUTPUTS + 50)]}})
    assert counts == {Media.IMAGES: MAX_OUTPUTS + 50}
    assert len(outputs) == MAX_OUTPUTS
    assert outputs[-1].filename == f"{MAX_OUTPUTS - 1}.png"


def test_names_are_bounded_and_can_be_written():
    file = {"filename": "\ud800" + "x" * 5_000, "subfolder": "y" * 5_000, "type": "z" * 500}
    ((output,), _) = read({"n" * 500: {"images": [file]}})
    assert output == Output("n" * 200, Media.IMAGES, "\ufffd" + "x" * 999, "y" * 1_000, "z" * 50)


@pytest.mark.parametrize("outputs", [None, 5, [], "x", True])
def test_what_is_no_outputs_is_none(outputs):
    assert read(outputs) == ((), {})
