"""What became of hostile inputs: each is accepted or refused in one of the documented ways, or it is a crash."""

from __future__ import annotations

import logging
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

KEPT = 20
"""Crashes of which the input is kept."""


@dataclass
class Crash:
    """An input after which something happened that must not."""

    channel: str
    what: str
    input: bytes


@dataclass
class Tally:
    """The account of one channel; `outcomes` must add up to `fed`."""

    channel: str
    fed: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    crashes: list[Crash] = field(default_factory=list)
    crashed: int = 0
    slowest: float = 0.0
    """Seconds that the loop was held by one input."""
    slowest_input: bytes = b""
    seconds: float = 0.0

    @property
    def counted(self) -> int:
        """How many inputs were counted as one thing or another."""
        return sum(self.outcomes.values())

    def count(self, outcome: str) -> None:
        """Count one more."""
        self.outcomes[outcome] += 1

    def crash(self, what: str, given: bytes) -> None:
        """Note what must not happen."""
        self.crashed += 1
        self.outcomes["crash"] += 1
        if len(self.crashes) < KEPT:
            self.crashes.append(Crash(self.channel, what, given[:2_000]))

    def complain(self, what: str, given: bytes = b"") -> None:
        """Note what must not be, of an input that is counted already."""
        self.crashed += 1
        if len(self.crashes) < KEPT:
            self.crashes.append(Crash(self.channel, what, given[:2_000]))

    @contextmanager
    def input(self, given: bytes) -> Iterator[None]:
        """Time one input, and take whatever it raises for a crash."""
        self.fed += 1
        began = time.perf_counter()
        try:
            yield
        except Exception:
            self.crash(traceback.format_exc(limit=-6), given)
        finally:
            took = time.perf_counter() - began
            if took > self.slowest:
                self.slowest, self.slowest_input = took, given[:2_000]


class Overheard(logging.Handler):
    """Counts log lines, and keeps those that tell of a defect: errors, and everything with a traceback."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines = self.size = 0
        self.forged: list[str] = []
        self.defects: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take one."""
        line = self.format(record)
        self.lines += 1
        self.size += len(line)
        if not line.isprintable():
            self.forged.append(line[:500])
        if record.levelno >= logging.ERROR or record.exc_info:
            self.defects.append(line[:3_000])

    def take_defects(self) -> list[str]:
        """Give those since the last time."""
        defects, self.defects = self.defects, []
        return defects


@contextmanager
def overhearing(formatter: logging.Formatter) -> Iterator[Overheard]:
    """Listen to every logger from `info` on."""
    handler = Overheard(formatter)
    root, ours = logging.getLogger(), logging.getLogger("comfyui_exporter")
    before = root.level, ours.level, ours.propagate
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    ours.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        root.setLevel(before[0])
        ours.setLevel(before[1])
