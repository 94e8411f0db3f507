"""Who is told what watching shows."""

from __future__ import annotations

from collections.abc import Sequence

from comfyui_exporter.tracker.transitions import Transition
from comfyui_exporter.tracker.view import ServerView


class Sink:
    """Is told what watching shows; must return at once and raise nothing.

    A sink has methods for what it cares about, and passes over the rest.
    """

    def transitions(self, server: str, changes: Sequence[Transition]) -> None:
        """What happened."""

    def view(self, server: str, view: ServerView, at: float) -> None:
        """How the server is now."""

    def busy(self, server: str, seconds: float) -> None:
        """For so long a job ran."""

    def request(self, server: str, route: str, result: str, seconds: float, received_bytes: int) -> None:
        """A request was made."""

    def event(self, server: str, kind: str, received_bytes: int) -> None:
        """An event came."""
