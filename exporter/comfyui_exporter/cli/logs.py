"""Log lines: logfmt or JSON, one event on one line whatever ComfyUI or a client put into it."""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import TextIO

LONGEST_VALUE = 8192
"""Characters of one value; an error of ComfyUI may carry a whole graph."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_LEVEL_NAMES = {"WARNING": "warn"}
_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_BARE = re.compile(r"[A-Za-z0-9_.:/@%+,;~*!?&$#()<>|^\[\]{}'-]+")
_KEY = re.compile(r"[^A-Za-z0-9_.-]")


class LogfmtFormatter(logging.Formatter):
    """`ts=2026-01-01T12:00:00.123Z level=info logger=comfyui_exporter msg="two words" server=gpu0`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; what is not plain is quoted, and no character can end the line or its quotes."""
        return " ".join(f"{key}={_logfmt_value(value)}" for key, value in fields(record).items())


class JsonFormatter(logging.Formatter):
    """The same fields as a JSON object, ASCII only."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; numbers and booleans of `extra` stay what they are."""
        return json.dumps(fields(record))


FORMATTERS: dict[str, type[logging.Formatter]] = {"logfmt": LogfmtFormatter, "json": JsonFormatter}


def fields(record: logging.LogRecord) -> dict[str, str | int | float | bool | None]:
    """What a line tells: ts (UTC), level, logger, msg, what `extra` added, and error and traceback of an exception."""
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    told: dict[str, str | int | float | bool | None] = {
        "ts": moment.replace("+00:00", "Z"),
        "level": _LEVEL_NAMES.get(record.levelname, record.levelname.lower()),
        "logger": record.name,
        "msg": _cut(_message(record)),
    }
    for name, value in vars(record).items():
        if name not in _OF_EVERY_RECORD:
            key = _KEY.sub("_", name) or "_"
            # An extra called "level" must not look like the level of the line.
            told[f"{key}_" if key in told else key] = _plain(value)
    if record.exc_info and record.exc_info[1] is not None:
        told["error"] = _plain(record.exc_info[1])
        told["traceback"] = _cut("".join(traceback.format_exception(record.exc_info[1])).rstrip())
    elif record.exc_text:
        told["traceback"] = _cut(record.exc_text)
    if record.stack_info:
        told["stack"] = _cut(record.stack_info)
    return told


def configure(level: str, log_format: str, stream: TextIO | None = None) -> None:
    """Sends the logs of the process to `stream` (stderr), in place of what an earlier call set up.

    `level` (debug, info, warn, error) is that of `comfyui_exporter`; other libraries are heard from warnings on.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(FORMATTERS[log_format]())
    handler.set_name("comfyui_exporter")
    root = logging.getLogger()
    for earlier in [known for known in root.handlers if known.get_name() == "comfyui_exporter"]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("comfyui_exporter").setLevel(_LEVELS[level])
    logging.captureWarnings(True)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # a wrong format string must not cost the line that tells what went wrong
        return _text(record.msg)


def _plain(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool):
        return value
    # JSON has no NaN or infinities, and numbers that are larger than a double surprise its readers.
    if type(value) is int and abs(value) < 1 << 53:
        return value
    if type(value) is float and math.isfinite(value):
        return value
    return _cut(_text(value))


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}... ({len(text)} characters)"


def _logfmt_value(value: str | float | bool | None) -> str:
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    text = str(value)
    if _BARE.fullmatch(text):
        return text
    # JSON's quoting is logfmt's; it escapes quotes, backslashes and C0, the second step what else moves the cursor.
    return "".join(
        char if char.isprintable() else json.dumps(char)[1:-1] for char in json.dumps(text, ensure_ascii=False)
    )
