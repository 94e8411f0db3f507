"""One sink that stands for several."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from comfyui_exporter.tracker.sink import Sink
from comfyui_exporter.tracker.transitions import Transition
from comfyui_exporter.tracker.view import ServerView

log = logging.getLogger("comfyui_exporter.monitor")


class Fanout(Sink):
    """Tells several sinks; one that raises is logged and counted, and keeps nothing from the others."""

    def __init__(self, sinks: Sequence[tuple[str, Sink]], failed: Callable[[str], None]) -> None:
        self._sinks = list(sinks)
        self._failed = failed

    def add(self, name: str, sink: Sink) -> None:
        """Tell this one too from now on."""
        self._sinks.append((name, sink))

    def remove(self, name: str) -> None:
        """Tell the one of this name no more."""
        self._sinks = [(other, sink) for other, sink in self._sinks if other != name]

    def transitions(self, server: str, changes: Sequence[Transition]) -> None:
        """What happened."""
        self._each(lambda sink: sink.transitions(server, changes))

    def view(self, server: str, view: ServerView, at: float) -> None:
        """How the server is now."""
        self._each(lambda sink: sink.view(server, view, at))

    def busy(self, server: str, seconds: float) -> None:
        """For so long a job ran."""
        self._each(lambda sink: sink.busy(server, seconds))

    def request(self, server: str, route: str, result: str, seconds: float, received_bytes: int) -> None:
        """A request was made."""
        self._each(lambda sink: sink.request(server, route, result, seconds, received_bytes))

    def event(self, server: str, kind: str, received_bytes: int) -> None:
        """An event came."""
        self._each(lambda sink: sink.event(server, kind, received_bytes))

    def _each(self, tell: Callable[[Sink], None]) -> None:
        for name, sink in self._sinks:
            try:
                tell(sink)
            except Exception:
                log.exception("sink %s failed", name)
                self._failed(name)
