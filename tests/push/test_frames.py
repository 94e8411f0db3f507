"""Frames are what RFC 6455 says, in whatever pieces they come."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.push.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    CloseCode,
    FrameError,
    FrameReader,
    close_frame,
    payload_of,
    pong_frame,
    read_close,
    text_frame,
)


def of_client(opcode, payload, *, final=True, mask=None):
    """A frame as clients send it."""
    mask = os.urandom(4) if mask is None else mask
    size = len(payload)
    head = bytes([(0x80 if final else 0) | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([0x80 | 127]) + size.to_bytes(8, "big")
    return head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


messages = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([TEXT, BINARY]), st.binary(max_size=300), st.integers(1, 4)),
        st.tuples(st.sampled_from([PING, PONG, CLOSE]), st.binary(max_size=125), st.just(1)),
    ),
    max_size=6,
)


@given(messages, st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_any_messages_are_read_in_any_pieces(said, cuts):
    stream = b""
    for opcode, payload, fragments in said:
        size = len(payload) // fragments + 1
        pieces = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
        for number, piece in enumerate(pieces):
            first, last = number == 0, number == len(pieces) - 1
            stream += of_client(opcode if first else CONTINUATION, piece, final=last)
            if not last:
                # Between fragments anybody may ping.
                stream += of_client(PING, b"?")
    reader = FrameReader(1000)
    heard = []
    at = number = 0
    while at < len(stream):
        step = cuts[number % len(cuts)]
        heard += list(reader.feed(stream[at : at + step]))
        at, number = at + step, number + 1
    assert [each for each in heard if each[0] != CONTINUATION and each != (PING, b"?")] == [
        (opcode, payload) for opcode, payload, _ in said if (opcode, payload) != (PING, b"?")
    ]


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_every_length_of_a_text_has_its_header(size):
    frame = text_frame(b"x" * size)
    assert payload_of(frame) == b"x" * size
    assert len(frame) - size == (2 if size < 126 else 4 if size < 65536 else 10)
    masked = of_client(TEXT, payload_of(frame), mask=b"abcd")
    assert list(FrameReader(65536).feed(masked)) == [(TEXT, b"x" * size)]


def test_a_message_in_fragments_is_as_bounded_as_a_whole_one():
    reader = FrameReader(100)
    assert list(reader.feed(of_client(TEXT, b"x" * 60, final=False))) == [(CONTINUATION, b"")]
    with pytest.raises(FrameError) as caught:
        list(reader.feed(of_client(CONTINUATION, b"x" * 60)))
    assert caught.value.code is CloseCode.TOO_BIG


def test_too_large_a_message_is_refused_before_it_came():
    with pytest.raises(FrameError, match="100 bytes"):
        list(FrameReader(100).feed(of_client(TEXT, b"x" * 200)[:8]))


@given(st.text(max_size=300))
def test_a_reason_of_any_length_fits_into_a_close_frame(reason):
    frame = close_frame(1013, reason)
    assert frame[1] <= 125
    assert read_close(frame[2:]) == 1013
    assert reason.startswith(frame[4:].decode())


def test_a_close_without_a_code_and_a_pong():
    assert close_frame(None) == b"\x88\x00"
    assert read_close(b"") is None
    assert pong_frame(b"ab") == b"\x8a\x02ab"


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000])
def test_codes_that_may_not_be_said_are_refused(code):
    with pytest.raises(FrameError):
        read_close(code.to_bytes(2, "big"))


@pytest.mark.parametrize("code", [1000, 1001, 1014, 3000, 4999])
def test_other_codes_are_read(code):
    assert read_close(code.to_bytes(2, "big") + b"why") == code
    with pytest.raises(FrameError) as caught:
        read_close(code.to_bytes(2, "big") + b"\xff")
    assert caught.value.code is CloseCode.INVALID_TEXT
