"""What the socket and the connection tell between two cycles of polling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard since the last time."""

    levels: tuple[int, ...]
    """queue_remaining of each `status` frame, in order."""
    covered: bool
    """Whether the socket was open all the while, so that no change can have gone unheard."""


class Signals:
    """Collects status frames and broken connections until the poller takes them."""

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self._wake = wake
        self._levels: list[int] = []
        self._gap = True
        self.socket_open = False
        self.broke = False
        """A connection was lost since the last check for a restart."""
        self.refused = False
        """Connecting was refused since then: nothing listened there for a while."""
        self.breaks = 0
        """How often a connection was lost, ever: what was read between two of them is of one process."""
        self.frames = 0

    def opened(self) -> None:
        """The socket is open from now on."""
        self.socket_open = True
        self._gap = True
        self._wake()

    def heard(self, queue_remaining: int) -> None:
        """A status frame came."""
        self.frames += 1
        self._levels.append(queue_remaining)
        self._wake()

    def closed(self) -> None:
        """The socket closed, by whomever: it proves no longer that this is the same process."""
        if self.socket_open:
            self.connection_broke()
        self.socket_open = False
        self._gap = True

    def connection_broke(self, *, refused: bool = False) -> None:
        """A read was cut off, could not connect, or had to connect anew."""
        self.broke = True
        self.breaks += 1
        self.refused = self.refused or refused

    def take(self) -> Heard:
        """Take what was heard."""
        heard = Heard(tuple(self._levels), covered=self.socket_open and not self._gap)
        self._levels.clear()
        self._gap = not self.socket_open
        return heard

    def settle_break(self) -> None:
        """The question whether ComfyUI restarted is answered."""
        self.broke = self.refused = False
