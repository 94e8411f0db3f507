"""Frames of the event stream, good and bad."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.comfyui.events import EVENT_TYPES, OtherEvent, StatusEvent, read_frame
from comfyui_exporter.comfyui.json import PayloadError


def status(remaining):
    return (
        f'{{"type": "status", "data": {{"status": {{"exec_info": {{"queue_remaining": {remaining}}}}}, "sid": "x"}}}}'
    )


@pytest.mark.parametrize("remaining", [0, 1, 2**63 - 1])
def test_a_status_frame_tells_how_many_jobs_there_are(remaining):
    assert read_frame(status(remaining)) == StatusEvent(remaining)
    assert read_frame(status(remaining).encode()) == StatusEvent(remaining)


@pytest.mark.parametrize("remaining", [-1, 2**63, "9" * 30, "9" * 5_000, "null", "true", '"2"', "1.5", "NaN", "[]"])
def test_a_status_frame_without_a_number_of_jobs_is_refused(remaining):
    with pytest.raises(PayloadError):
        read_frame(status(remaining))


@pytest.mark.parametrize(
    "data", ["null", "5", "[]", "{}", '{"status": null}', '{"status": {}}', '{"status": {"exec_info": 5}}']
)
def test_a_status_frame_of_another_shape_is_refused(data):
    with pytest.raises(PayloadError):
        read_frame(f'{{"type": "status", "data": {data}}}')


@pytest.mark.parametrize("kind", [*sorted(EVENT_TYPES - {"status"}), "some_extension.event", ""])
@pytest.mark.parametrize("data", ["null", "5", "{}", '{"x": NaN}', "[" * 5_000 + "]" * 5_000])
def test_other_types_are_told_whatever_they_carry(kind, data):
    assert read_frame(f'{{"type": "{kind}", "data": {data}}}') == OtherEvent(kind)


def test_data_may_be_absent():
    assert read_frame('{"type": "executing"}') == OtherEvent("executing")


def test_the_type_is_bounded():
    assert read_frame(json.dumps({"type": "x" * 10_000})) == OtherEvent("x" * 100)


def test_a_type_that_cannot_be_written_is_told_with_a_replacement():
    assert read_frame(r'{"type": "a\ud800"}') == OtherEvent("a\ufffd")
    assert read_frame(b'{"type": "a\xff"}') == OtherEvent("a\ufffd")


@pytest.mark.parametrize(
    "frame", ["", "x", "null", "5", "[]", "{}", '{"type": 5}', '{"type": null}', "{", "[" * 100_000, b"\xff"]
)
def test_what_is_no_event_is_refused(frame):
    with pytest.raises(PayloadError):
        read_frame(frame)


@given(st.text(st.characters(codec=None), max_size=40) | st.binary(max_size=40))
def test_any_frame_is_read_or_refused(frame):
    with suppress(PayloadError):
        repr(read_frame(frame)).encode()
