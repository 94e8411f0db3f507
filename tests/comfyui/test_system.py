"""GET /system_stats of machines that are not all alike."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.comfyui.json import PayloadError
from comfyui_exporter.comfyui.system import read_system_stats
from comfyui_exporter.tracker.observations import Device, SystemStats

ODD = [None, 5.5, "x", True, [], {}, -1, 2**63]


def stats(system=None, devices=()):
    return read_system_stats(json.dumps({"system": system or {}, "devices": devices}).encode())


def test_everything_is_read():
    system = {
        "os": "posix",
        "ram_total": 100,
        "ram_free": 0,
        "comfyui_version": "0.3.64",
        "python_version": "3.11",
        "pytorch_version": "2.8",
        "argv": ["--secret"],
    }
    device = {
        "name": "cuda:1 NVIDIA",
        "type": "cuda",
        "index": 1,
        "vram_total": 10,
        "vram_free": 5,
        "torch_vram_total": 4,
        "torch_vram_free": 0,
    }
    assert stats(system, [device]) == SystemStats(
        "0.3.64", "3.11", "2.8", "posix", 100, 0, (Device("1", "cuda", 10, 5, 4, 0),)
    )


@pytest.mark.parametrize("index", [None, "0", True, 1.0, []])
def test_a_device_without_an_index_is_named_by_its_place(index):
    assert [device.name for device in stats(devices=[{"index": 7}, {"index": index}]).devices] == ["7", "1"]


@pytest.mark.parametrize("size", [None, "5", True, -1, 2**63, 1e300, [], {}])
def test_a_size_that_is_none_is_not_given(size):
    read = stats({"ram_total": size, "ram_free": 7}, [{"vram_total": size, "vram_free": 7}])
    assert (read.ram_total, read.ram_free) == (None, 7)
    assert (read.devices[0].vram_total, read.devices[0].vram_free) == (None, 7)


@pytest.mark.parametrize("odd", ODD)
def test_strings_of_the_wrong_type_are_empty(odd):
    read = stats({"os": odd, "comfyui_version": odd, "python_version": odd, "ram_total": 5})
    word = odd if isinstance(odd, str) else ""
    assert read == SystemStats(version=word, python_version=word, os=word, ram_total=5)


def test_strings_are_bounded():
    assert stats({"comfyui_version": "x" * 10_000}).version == "x" * 200


@pytest.mark.parametrize("odd", [None, 5, "x", [], [1]])
def test_a_device_that_is_none_hides_no_other(odd):
    assert [device.name for device in stats(devices=[odd, {"type": "cuda"}]).devices] == ["1"]


@pytest.mark.parametrize("devices", [None, 5, "x", {"0": {}}])
def test_devices_that_are_no_list_do_not_hide_the_system(devices):
    assert stats({"comfyui_version": "1"}, devices) == SystemStats(version="1")


def test_devices_may_be_absent():
    assert read_system_stats(b'{"system": {"comfyui_version": "1"}}') == SystemStats(version="1")


def test_devices_are_bounded():
    assert len(stats(devices=[{}] * 1_000).devices) == 64


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{}", b'{"system": null}', b'{"system": 5}', b"\xff", b"{" * 100_000]
)
def test_what_is_no_answer_is_a_payload_error(body):
    with pytest.raises(PayloadError):
        read_system_stats(body)


ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=4)


@given(
    st.dictionaries(st.sampled_from(["os", "ram_total", "ram_free", "comfyui_version"]), ANY),
    st.lists(
        st.dictionaries(st.sampled_from(["name", "type", "index", "vram_total", "torch_vram_free"]), ANY), max_size=3
    ),
)
def test_any_values_are_read(system, devices):
    repr(stats(system, devices)).encode()
