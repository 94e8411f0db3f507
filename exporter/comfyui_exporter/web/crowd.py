"""How many connections a port has at a time, and how much waits to be taken from it: bounded, whoever comes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

log = logging.getLogger("comfyui_exporter.web")

MOST_CONNECTIONS = 2_000
"""Of one port, that ask over HTTP or may do so. Clients of the push service count there after their handshake."""

MOST_UNSENT = 256 * 1024 * 1024
"""Bytes of answers that are being taken: eight scrapes of 300,000 series, uncompressed."""

_TELL_EVERY = 60.0


class Member(Protocol):
    """A connection, as far as this goes."""

    @property
    def waits(self) -> bool:
        """Whether it asks nothing at the moment."""
        ...

    def cut_off(self) -> None:
        """End at once."""
        ...


class Crowd:
    """Everybody who is connected. For one that is too many, the one that has been there longest without asking goes.

    So whoever opens connections and says nothing, or too slowly, makes room for those who ask.
    """

    def __init__(
        self,
        most: int = MOST_CONNECTIONS,
        most_unsent: int = MOST_UNSENT,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._most_unsent = most_unsent
        self._now = now
        self._members: dict[Member, None] = {}
        self._unsent = 0
        self._told: float | None = None

    def __len__(self) -> int:
        """How many are connected."""
        return len(self._members)

    def join(self, member: Member) -> None:
        """Take one in."""
        self._members[member] = None
        if len(self._members) <= self._most:
            return
        self._tell()
        # The new one waits as well, and is the last of those who do.
        first = next((known for known in self._members if known.waits), member)
        del self._members[first]
        first.cut_off()

    def leave(self, member: Member) -> None:
        """One is gone."""
        self._members.pop(member, None)

    @contextmanager
    def sending(self, size: int) -> Iterator[bool]:
        """Account for an answer of so many bytes as long as it is being taken; False if it is too much now."""
        fits = not self._unsent or self._unsent + size <= self._most_unsent
        self._unsent += size if fits else 0
        try:
            yield fits
        finally:
            self._unsent -= size if fits else 0

    def _tell(self) -> None:
        now = self._now()
        if self._told is None or now - self._told >= _TELL_EVERY:
            self._told = now
            log.warning("too many connections, those that ask nothing are cut off", extra={"connections": self._most})
