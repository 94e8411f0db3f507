"""Jobs that were registered and that no server has shown yet."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from comfyui_exporter.tracker.registration import Registration

_MOST_WAITING = 10_000
_LONGEST_STEP = 60.0
"""Seconds: a pause of ours longer than this is no time in which servers answered."""


@dataclass(slots=True)
class _Waiting:
    registration: Registration
    since: float
    """In seconds during which all servers answered."""
    timed_out: bool = False


class Registrations:
    """Keeps what waits for its job, and tells what has waited for too long; `timeout` in seconds."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._answered = 0.0
        self._last: float | None = None
        self._silent = set[str]()
        """Servers that do not answer, of those that were looked at."""

    def add(self, registration: Registration, *, timed_out: bool = False) -> list[Registration]:
        """Wait for a job; those that have to go for it, which are one of the same prompt_id or the oldest.

        `timed_out`: it waited for too long already, and that was told.
        """
        gone = []
        before = self._waiting.pop(registration.prompt_id, None)
        if before is not None:
            gone.append(before.registration)
        self._waiting[registration.prompt_id] = _Waiting(registration, self._answered, timed_out)
        if len(self._waiting) > _MOST_WAITING:
            gone.append(self._waiting.popitem(last=False)[1].registration)
        return gone

    def waiting_for(self, prompt_id: str) -> Registration | None:
        """Give what waits for a prompt_id."""
        waiting = self._waiting.get(prompt_id)
        return None if waiting is None else waiting.registration

    def claim(self, server: str, prompt_id: str) -> Registration | None:
        """Take what waits for a job that this server shows."""
        waiting = self._waiting.get(prompt_id)
        if waiting is None or waiting.registration.server not in {None, server}:
            return None
        del self._waiting[prompt_id]
        return waiting.registration

    def seen(self, server: str, *, up: bool, at: float) -> Iterator[Registration]:
        """Take in whether a server answers, and give those that have now waited for too long.

        Time runs only while all servers answer: a job may be on the one that does not.
        """
        if self._last is not None and not self._silent:
            self._answered += min(max(0.0, at - self._last), _LONGEST_STEP)
        self._last = at
        if up:
            self._silent.discard(server)
        else:
            self._silent.add(server)
        for waiting in self._waiting.values():
            if self._answered - waiting.since <= self._timeout:
                return
            if not waiting.timed_out:
                waiting.timed_out = True
                yield waiting.registration

    def remove_server(self, server: str) -> None:
        """A server is not watched any more."""
        self._silent.discard(server)
