"""One client: its socket, what waits for it, and what it says."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from comfyui_exporter.push.audience import Group
from comfyui_exporter.push.backlog import Backlog
from comfyui_exporter.push.frames import (
    BINARY,
    CLOSE,
    PING,
    TEXT,
    CloseCode,
    FrameError,
    FrameReader,
    close_frame,
    ping_frame,
    pong_frame,
    read_close,
)
from comfyui_exporter.push.news import News
from comfyui_exporter.push.rate import Allowance, Limits, Verdict
from comfyui_exporter.push.requests import Request, error_frame
from comfyui_exporter.push.subscription import Subscription

LONGEST_MESSAGE = 64 * 1024
"""Bytes that a client may send at once: a subscription with a thousand long ids."""

_MOST_ANSWERS = 256
"""Small frames that may wait for a client: it keeps talking and reads nothing."""

_PING = ping_frame()


class Host(Protocol):
    """The hub, as its clients see it."""

    queue_size: int
    read_buffer: memoryview
    """Where sockets are read into; used by one client at a time, as nothing waits in between."""

    def now(self) -> float:
        """Give the time, in seconds from anywhere."""

    def joined(self, client: Client) -> Iterator[News | None] | None:
        """Take a client in, or over into the group of its new subscription; what its snapshot is made of.

        None: it is too early for one; `begin_snapshot` is called when it is time.
        """

    def later(self, client: Client) -> None:
        """Let `client.pump` be called soon."""

    def heard(self, client: Client, text: bytes) -> None:
        """Do what a client says."""

    def answer_more(self, client: Client) -> None:
        """Go on answering a client whose questions had to wait for its reading."""

    def sent(self, messages: int) -> None:
        """Count messages that were written."""

    def dropped(self, messages: int) -> None:
        """Count messages that will not be."""

    def closing(self, client: Client) -> None:
        """Abort it, if it is not gone soon."""

    def left(self, client: Client) -> None:
        """Forget it."""


class Client(asyncio.BufferedProtocol):
    """A socket after its handshake.

    Thousands of them are idle most of the time: no task, no timer, no buffer belongs to one of them, and what it
    needs only now and then is made when it is needed.
    """

    __slots__ = (
        "_allowance", "_backlog", "_deaf", "_host", "_reader", "_transport", "closing", "direct", "due", "group",
        "heard_at", "joined", "limits", "paused", "pinged_at", "questions", "scope", "task", "wanted",
    )  # fmt: skip

    def __init__(self, host: Host, wanted: Subscription, scope: str | None, limits: Limits) -> None:
        self._host = host
        self.wanted = wanted
        self.scope = scope
        """The only prompt that it may know of; None: all."""
        self.limits = limits
        self.group: Group[Client] | None = None
        self.joined = 0
        self.direct = False
        self.paused = False
        """Whether its socket takes nothing at the moment."""
        self.closing = False
        self.heard_at = self.pinged_at = host.now()
        self.due = 0.0
        self.questions: deque[tuple[Request, msgspec.Raw | None]] | None = None
        self.task: asyncio.Task[None] | None = None
        """Answers the questions, as long as there are some."""
        self._reader = FrameReader(LONGEST_MESSAGE)
        self._allowance = Allowance(limits, self.heard_at)
        self._transport: asyncio.Transport | None = None
        self._deaf = False
        self._backlog = Backlog()

    def begin(self, transport: asyncio.Transport, early: bytes) -> None:
        """Take over a socket whose handshake is done; `early` is what came behind it."""
        self._transport = transport
        transport.set_protocol(self)
        self.paused = transport.get_write_buffer_size() > 0
        # Nothing may pile up behind a socket that is full: what waits is to wait here, where the newest is enough.
        # Not 0, at which asyncio's TLS takes an empty buffer for a full one.
        transport.set_write_buffer_limits(high=1, low=0)
        self.begin_snapshot()
        if early:
            self._receive(early)

    # Writing

    def write(self, data: bytes) -> None:
        """Write to the socket; only while `direct`."""
        if self._transport is not None:
            self._transport.write(data)

    def send(self, frame: bytes) -> None:
        """Say something to this client alone: next, whatever else waits."""
        if self.closing or self._transport is None:
            return
        if not self.paused and not self._backlog.answers:
            self._transport.write(frame)
            self._host.sent(1)
            return
        self.direct = False
        self._backlog.answer(frame)
        if self._backlog.answers > _MOST_ANSWERS:
            self.close(CloseCode.TRY_AGAIN, "answers are not read")

    def keep(self, news: Sequence[News]) -> None:
        """Let news wait until the socket takes more."""
        if self.closing:
            self._host.dropped(len(news))
            return
        self._host.dropped(self._backlog.keep(news))
        # While it is we who are behind with its snapshot, it is not to blame.
        if self.paused and self._backlog.terminals > self._host.queue_size:
            self.close(CloseCode.TRY_AGAIN, "read faster: too many final updates wait")

    def subscribe(self, wanted: Subscription, answer: bytes) -> None:
        """Begin anew: the answer, then the snapshot. What waits is in the snapshot as well, as far as it is wanted."""
        self.send(answer)
        self.wanted = wanted
        self.begin_snapshot()

    def begin_snapshot(self) -> None:
        """Tell all that is wanted, and from then on what changes."""
        self.direct = False
        self._host.dropped(self._backlog.begin(self._host.joined(self)))
        self._host.later(self)

    def pump(self) -> None:
        """Write a piece of what waits."""
        if self.direct or not self._writable or self._transport is None:
            return
        frames = self._backlog.piece()
        if frames:
            self._transport.write(b"".join(frames))
            self._host.sent(len(frames))
        if not self._writable:
            return
        if self._backlog:
            self._host.later(self)
            return
        self.direct = True
        if self.questions and self.task is None:
            self._host.answer_more(self)

    def pause_writing(self) -> None:
        """Wait: the socket is full."""
        self.paused = True
        self.direct = False

    def resume_writing(self) -> None:
        """Go on: the socket took all that was written."""
        self.paused = False
        self.pump()

    @property
    def _writable(self) -> bool:
        return not self.paused and not self.closing

    # Reading

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  the buffer is what it is
        """Give the buffer to read into."""
        return self._host.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self._receive(bytes(self._host.read_buffer[:nbytes]))

    def _receive(self, data: bytes) -> None:
        if self._deaf:
            return
        now = self._host.now()
        try:
            for opcode, payload in self._reader.feed(data):
                # Pieces do not count: whoever sends a byte now and then would hold what is not complete for ever.
                self.heard_at = now
                self._hear(opcode, payload)
                if self._deaf:
                    return
        except FrameError as error:
            self.close(error.code, error.reason)
            # What follows cannot be made out any more, not even an answer to the close. It is read and dropped: were
            # the socket closed over unread bytes, the client might lose the reason. Its own end is the answer.
            self._deaf = True
            if self._transport is not None and self._transport.can_write_eof():
                self._transport.write_eof()

    def _hear(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            self._take_leave(read_close(payload))
            return
        if self.closing:
            return
        verdict = self._allowance.spend(self.heard_at)
        if verdict is Verdict.ABUSE:
            self.close(CloseCode.POLICY, "too many messages")
        elif opcode == PING:
            if verdict is Verdict.TAKEN:
                self.send(pong_frame(payload))
        elif opcode in {TEXT, BINARY} and verdict is Verdict.REFUSED:
            rate = f"{self.limits.per_second:g} messages a second are allowed"
            self.send(error_frame("rate_limited", f"{rate}; this one was not looked at"))
        elif opcode == BINARY:
            self.send(error_frame("bad_request", "messages are texts; this one was binary"))
        elif opcode == TEXT:
            _check_text(payload)
            self._host.heard(self, payload)

    # The end

    @property
    def half_open(self) -> bool:
        """Whether nothing was heard since the last ping."""
        return self.heard_at < self.pinged_at

    def ping(self) -> None:
        """Ask whether it is there. Behind what its socket did not take yet: who does not read is not there."""
        self.pinged_at = self._host.now()
        if self._transport is not None and not self.closing:
            self._transport.write(_PING)

    def close(self, code: CloseCode, reason: str) -> None:
        """Say that it ends and why, and end when the client agrees, or soon without it."""
        if self.closing:
            return
        self._shut(close_frame(code, reason))

    def abort(self) -> None:
        """End at once."""
        self.closing = True
        self.direct = False
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  why it is gone makes no difference
        """Forget everything: it is gone."""
        self.closing = self._deaf = True
        self.direct = False
        self._transport = None
        self._host.dropped(self._backlog.clear())
        self.questions = None
        if self.task is not None:
            self.task.cancel()
            self.task = None
        self._host.left(self)

    def _take_leave(self, code: int | None) -> None:
        self._deaf = True
        if not self.closing:
            self._shut(close_frame(code))
        if self._transport is not None:
            self._transport.close()

    def _shut(self, frame: bytes) -> None:
        self.closing = True
        self.direct = False
        self._host.dropped(self._backlog.clear())
        self.questions = None
        if self._transport is not None:
            self._transport.write(frame)
            self._host.closing(self)


def _check_text(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise FrameError(CloseCode.INVALID_TEXT, "a text has to be UTF-8") from None
