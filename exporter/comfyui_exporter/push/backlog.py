"""All that waits for one client, and the order in which it is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from comfyui_exporter.push.messages import SNAPSHOT_END
from comfyui_exporter.push.news import News
from comfyui_exporter.push.outbox import Outbox

CHUNK = 64 * 1024
"""Bytes after which writing is interrupted for others."""

_SCAN = 2000
"""Jobs of a snapshot that are looked at in one go, wanted or not."""

_FEW = 16
"""News that are taken out of the outbox at once."""


class Backlog:
    """Answers to the client come first, then its snapshot, then the news of since. Empty, it holds nothing."""

    __slots__ = ("_answers", "_outbox", "_snapshot")

    def __init__(self) -> None:
        self._answers: list[bytes] | None = None
        self._snapshot: Iterator[News | None] | None = None
        self._outbox: Outbox | None = None

    def __bool__(self) -> bool:
        return bool(self._answers or self._outbox) or self._snapshot is not None

    @property
    def answers(self) -> int:
        """How many answers wait."""
        return 0 if self._answers is None else len(self._answers)

    @property
    def terminals(self) -> int:
        """How many final updates wait, those of the snapshot aside."""
        return 0 if self._outbox is None else self._outbox.terminals

    def answer(self, frame: bytes) -> None:
        """Let an answer wait."""
        if self._answers is None:
            self._answers = []
        self._answers.append(frame)

    def keep(self, news: Sequence[News]) -> int:
        """Let news wait, and give how many need not any more because of them."""
        if self._outbox is None:
            self._outbox = Outbox()
        return sum(map(self._outbox.put, news))

    def begin(self, snapshot: Iterator[News | None] | None) -> int:
        """Begin anew with a snapshot, which has all that waits; give how many news need not wait any more."""
        dropped = 0 if self._outbox is None else len(self._outbox)
        self._snapshot, self._outbox = snapshot, None
        return dropped

    def clear(self) -> int:
        """Let nothing wait; how many news were lost."""
        self._answers = None
        return self.begin(None)

    def piece(self) -> list[bytes]:
        """Take out what to write next; may be empty although more waits, if much was looked at in vain."""
        if self._answers:
            answers, self._answers = self._answers, None
            return answers
        frames: list[bytes] = []
        size = self._go_on_with_snapshot(frames)
        while self._outbox and self._snapshot is None and size < CHUNK:
            taken = [news.frame for news in self._outbox.take(_FEW)]
            frames += taken
            size += sum(map(len, taken))
        if not self._outbox:
            self._outbox = None
        return frames

    def _go_on_with_snapshot(self, frames: list[bytes]) -> int:
        if self._snapshot is None:
            return 0
        size = 0
        for seen, news in enumerate(self._snapshot, start=1):
            if news is not None:
                frames.append(news.frame)
                size += len(news.frame)
            if size >= CHUNK or seen >= _SCAN:
                return size
        self._snapshot = None
        frames.append(SNAPSHOT_END)
        return size
