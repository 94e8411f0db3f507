"""Log lines tell one event each, whoever wrote their words."""

from __future__ import annotations

import io
import json
import logging
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.cli.logs import FORMATTERS, LONGEST_VALUE, configure

HOSTILE = 'x\nts=now level=error msg="forged"\r\x1b[2J\u2028\u202e\x85'


def _record(message, *args, level=logging.INFO, exc_info=None, **extra):
    record = logging.LogRecord("comfyui_exporter.poller", level, "", 0, message, args, exc_info)
    record.created = 1767268800.125
    for name, value in extra.items():
        setattr(record, name, value)
    return record


def _line(log_format, *args, **kwargs):
    return FORMATTERS[log_format]().format(_record(*args, **kwargs))


def test_a_logfmt_line_has_time_level_logger_message_and_what_was_added():
    line = _line("logfmt", "lost %s", "it", level=logging.WARNING, server="gpu0", tries=3, url="http://a/?b=c", ok=True)
    assert line == (
        "ts=2026-01-01T12:00:00.125Z level=warn logger=comfyui_exporter.poller "
        'msg="lost it" server=gpu0 tries=3 url="http://a/?b=c" ok=true'
    )


def test_a_json_line_has_the_same_fields_with_their_types():
    assert json.loads(_line("json", "lost %s", "it", server="gpu0", tries=3, ratio=float("nan"), none=None)) == {
        "ts": "2026-01-01T12:00:00.125Z",
        "level": "info",
        "logger": "comfyui_exporter.poller",
        "msg": "lost it",
        "server": "gpu0",
        "tries": 3,
        "ratio": "nan",
        "none": None,
    }


def test_hostile_words_stay_inside_their_quotes():
    assert _line("logfmt", "said", text=HOSTILE).endswith(
        r'text="x\nts=now level=error msg=\"forged\"\r\u001b[2J\u2028\u202e\u0085"'
    )


@pytest.mark.parametrize("log_format", FORMATTERS)
@given(message=st.text(), key=st.text(min_size=1), value=st.text())
def test_whatever_is_logged_is_one_line_of_visible_characters(log_format, message, key, value):
    record = _record("%s", message)
    if key not in vars(record):
        vars(record)[key] = value  # as logging does with `extra`; setattr refuses a key such as `__dict__`
    line = FORMATTERS[log_format]().format(record)
    assert line.isprintable()
    if log_format == "json":
        assert json.loads(line)["msg"] == message
    else:
        pairs = re.findall(r'([A-Za-z0-9_.-]+)=((?:"(?:[^"\\]|\\.)*")|[^\s"=\\]+)(?: |$)', line)
        assert " ".join("=".join(pair) for pair in pairs) == line


def test_an_added_field_cannot_replace_the_level():
    assert "level=info" in _line("logfmt", "x", level_="a", ts="never")
    assert json.loads(_line("json", "x", ts="never"))["ts_"] == "never"


def test_an_exception_is_told_with_its_traceback_on_the_same_line():
    try:
        raise ValueError("a\nb")
    except ValueError:
        told = json.loads(_line("json", "failed", exc_info=sys.exc_info()))
    assert told["error"] == "a\nb"
    assert told["traceback"].startswith("Traceback (most recent call last):\n")


def test_a_wrong_format_string_still_gives_a_line():
    assert 'msg="%d jobs"' in _line("logfmt", "%d jobs", "many")


def test_an_object_that_cannot_be_shown_still_gives_a_line():
    class Silent:
        def __str__(self):
            raise RuntimeError

    assert 'what="<Silent that cannot be shown>"' in _line("logfmt", "x", what=Silent())


def test_a_very_long_value_is_cut_and_its_length_told():
    assert json.loads(_line("json", "x" * 100_000))["msg"] == "x" * LONGEST_VALUE + "... (100000 characters)"


@pytest.fixture
def restored_logging():
    root, ours = logging.getLogger(), logging.getLogger("comfyui_exporter")
    before = root.level, ours.level, list(root.handlers)
    yield
    root.setLevel(before[0])
    ours.setLevel(before[1])
    root.handlers[:] = before[2]
    logging.captureWarnings(False)


def test_our_level_is_the_chosen_one_and_others_are_heard_from_warnings_on(restored_logging):
    stream = io.StringIO()
    configure("info", "json", io.StringIO())
    configure("debug", "logfmt", stream)
    logging.getLogger("comfyui_exporter.x").debug("ours")
    logging.getLogger("aiohttp.access").info("theirs")
    logging.getLogger("aiohttp").warning("theirs too")
    assert [line.split(" ", 1)[1] for line in stream.getvalue().splitlines()] == [
        "level=debug logger=comfyui_exporter.x msg=ours",
        'level=warn logger=aiohttp msg="theirs too"',
    ]
