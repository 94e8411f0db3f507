"""JSON as ComfyUI writes it, and what is none."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from comfyui_exporter.comfyui import json as tolerant
from comfyui_exporter.comfyui.json import PayloadError, decode

ANYTHING = msgspec.json.Decoder(Any)


def test_the_tolerant_way_takes_a_large_answer_in_pieces_that_cut_no_character(monkeypatch):
    monkeypatch.setattr(tolerant, "_PIECE", 7)
    text = "aé€😀" * 20
    assert decode(ANYTHING, f'{{"nan": NaN, "text": "{text}"}}'.encode()) == {"nan": None, "text": text}


def test_a_character_that_the_end_cuts_is_replaced(monkeypatch):
    monkeypatch.setattr(tolerant, "_PIECE", 7)
    assert tolerant._text_of("12345😀".encode()[:-1]) == "12345\ufffd"


@pytest.mark.parametrize("body", [b"<!doctype html>", b"", b"   ", b"!" * 100, b"\xff\xfe{}", b"hello"])
def test_what_does_not_begin_as_json_is_not_looked_into(body, monkeypatch):
    monkeypatch.setattr(tolerant, "_made_strict", None)
    with pytest.raises(PayloadError, match="not readable as JSON"):
        decode(ANYTHING, body)


@pytest.mark.parametrize(
    ("body", "value"), [(b" NaN", None), (b"Infinity", None), (b"-Infinity", None), (b"\n[NaN]", [None])]
)
def test_whatever_json_of_python_begins_with_is_read(body, value):
    assert decode(ANYTHING, body) == value
