"""Tokens: those for one job, and the file of the one for all."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.config.secret_files import read_secret
from comfyui_exporter.push.tokens import CHECK_EVERY, TokenFile, decode_base64, job_of_token, job_token, same

texts = st.text(min_size=1, max_size=100)


@given(texts, texts)
def test_a_token_for_a_job_names_it_and_fits_into_a_header(token, prompt):
    made = job_token(token, prompt)
    assert re.fullmatch(r"job\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]{43}", made)
    assert job_of_token(made, token) == prompt


@given(texts, texts, texts)
def test_with_another_token_or_for_another_job_it_is_worth_nothing(token, other, prompt):
    made = job_token(token, prompt)
    if other != token:
        assert job_of_token(made, other) is None
    _, _, signature = made.split(".")
    if other != prompt:
        encoded = job_token("x", other).split(".")[1]
        assert job_of_token(f"job.{encoded}.{signature}", token) is None


@given(st.text(max_size=200))
def test_what_is_no_token_for_a_job_is_none(shown):
    assert job_of_token(shown, "token") is None
    assert job_of_token(f"job.{shown}", "token") is None


def test_a_prompt_longer_than_any_is_not_looked_at():
    assert job_of_token(job_token("token", "x" * 2000), "token") is None


@given(st.text(max_size=50), st.text(max_size=50))
def test_same_is_equality(one, other):
    assert same(one, one)
    assert same(one, other) == (one == other)


def test_base64_with_and_without_padding():
    assert decode_base64("Z2VoZWltPT0") == decode_base64("Z2VoZWltPT0=") == "geheim=="
    assert decode_base64("???") is None
    assert decode_base64("_w") is None


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


async def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(tmp_path, clock):
    path = tmp_path / "token"
    path.write_text("first\n")
    reads = []

    def read(path):
        reads.append(path)
        return read_secret(path)

    source = TokenFile(path, read, clock)
    assert [await source.token() for _ in range(3)] == ["first"] * 3
    clock.now += CHECK_EVERY
    assert await source.token() == "first"
    assert len(reads) == 1
    path.write_text("second, longer\n")
    assert await source.token() == "first"
    clock.now += CHECK_EVERY
    assert await source.token() == "second, longer"


async def test_a_file_that_is_gone_leaves_the_token_as_it_was_and_is_logged_once(tmp_path, clock, caplog):
    path = tmp_path / "token"
    path.write_text("first\n")
    source = TokenFile(path, read_secret, clock)
    assert await source.token() == "first"
    path.unlink()
    for _ in range(3):
        clock.now += CHECK_EVERY
        assert await source.token() == "first"
    assert caplog.text.count("the file with the push token cannot be read") == 1
    path.write_text("again\n")
    os.utime(path, (1, 1))
    clock.now += CHECK_EVERY
    assert await source.token() == "again"


async def test_a_file_that_never_could_be_read_gives_no_token(tmp_path, clock, caplog):
    assert await TokenFile(tmp_path / "none", read_secret, clock).token() is None
    path = tmp_path / "two"
    path.write_text("one\ntwo\n")
    assert await TokenFile(path, read_secret, clock).token() is None
    assert "more than one line" in caplog.text


async def test_a_token_that_can_be_guessed_is_warned_of_once_for_each_and_not_shown(tmp_path, clock, caplog):
    """Whoever has the token of one job can try tokens for all without asking us."""
    path = tmp_path / "token"
    path.write_text("hunter2\n")
    file = TokenFile(path, read_secret, now=clock)
    for _ in range(3):
        assert await file.token() == "hunter2"
        clock.now += CHECK_EVERY
    path.write_text("a-token-of-sixteen-or-more\n")
    assert await file.token() == "a-token-of-sixteen-or-more"
    assert caplog.messages == ["the push token has fewer than 16 characters and can be guessed"]
