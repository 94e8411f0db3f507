"""WebSocket frames (RFC 6455), without extensions: written for any number of clients at once, read from one.

A frame of a server is not masked, so its bytes are the same for everyone: they are made once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

_FINAL = 0x80
_RESERVED = 0x70
_MASKED = 0x80
_LONGEST_CONTROL = 125
_LONGEST_SHORT = 0xFFFF


class CloseCode(IntEnum):
    """Why a socket is closed, as far as we say it."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    INVALID_TEXT = 1007
    POLICY = 1008
    TOO_BIG = 1009
    TRY_AGAIN = 1013


class FrameError(Exception):
    """The other side does not keep to the protocol; the socket has to be closed with this code."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def text_frame(payload: bytes) -> bytes:
    """Frame a text, given as UTF-8."""
    return _frame(TEXT, payload)


def payload_of(frame: bytes) -> bytes:
    """Give back what `text_frame` was given."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


def ping_frame() -> bytes:
    """Ask whether somebody is there."""
    return _frame(PING, b"")


def pong_frame(payload: bytes) -> bytes:
    """Answer a ping."""
    return _frame(PONG, payload)


def close_frame(code: int | None, reason: str = "") -> bytes:
    """Say that nothing more will come; without a code nothing is said of why."""
    if code is None:
        return _frame(CLOSE, b"")
    said = reason.encode()[: _LONGEST_CONTROL - 2].decode(errors="ignore").encode()
    return _frame(CLOSE, struct.pack("!H", code) + said)


def _frame(opcode: int, payload: bytes) -> bytes:
    first, size = _FINAL | opcode, len(payload)
    if size <= _LONGEST_CONTROL:
        return struct.pack("!BB", first, size) + payload
    if size <= _LONGEST_SHORT:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


class FrameReader:
    """Reads what one client sends, in whatever pieces it comes.

    Gives whole messages: texts and binaries put together from their fragments, and control frames. `longest` bounds a
    message in bytes. Each frame, also a fragment, is told to the caller, for whom it is a reason to slow down: a
    fragment without the rest comes as CONTINUATION without a payload.
    """

    __slots__ = ("_fragments", "_kind", "_longest", "_rest")

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._rest: bytearray | None = None
        self._kind = CONTINUATION
        self._fragments: list[bytes] | None = None

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Give (opcode, payload) of each frame that is complete; to be exhausted, or not to be fed again.

        Raises:
            FrameError: the client does not keep to the protocol.

        """
        rest = self._rest
        if rest is None:
            rest = bytearray(data)
        else:
            rest += data
        at = 0
        while (frame := self._next(rest, at)) is not None:
            first, payload, at = frame
            yield self._whole(first & 0x0F, payload, final=bool(first & _FINAL))
        del rest[:at]
        # Most clients send a few bytes a minute; none of them is to hold a buffer meanwhile.
        self._rest = rest or None

    def _next(self, data: bytearray, at: int) -> tuple[int, bytes, int] | None:
        """Cut out the frame that begins at a place: its first byte, payload and end; None while it is incomplete."""
        if len(data) - at < 2:
            return None
        first, second = data[at], data[at + 1]
        size, begin = second & 0x7F, at + 2
        _check_header(first, second)
        if size >= 126:
            width = 2 if size == 126 else 8
            if len(data) < begin + width:
                return None
            size = int.from_bytes(data[begin : begin + width], "big")
            begin += width
        if size > self._longest:
            raise FrameError(CloseCode.TOO_BIG, f"a message may have {self._longest} bytes")
        end = begin + 4 + size
        if len(data) < end:
            return None
        return first, _unmasked(data[begin + 4 : end], bytes(data[begin : begin + 4])), end

    def _whole(self, opcode: int, payload: bytes, *, final: bool) -> tuple[int, bytes]:
        if opcode >= CLOSE:
            return opcode, payload
        begins, under_way = opcode != CONTINUATION, self._fragments is not None
        if begins is under_way:
            raise FrameError(CloseCode.PROTOCOL_ERROR, "a fragment out of order")
        if begins:
            self._kind = opcode
            if final:
                return opcode, payload
            self._fragments = []
        fragments = self._fragments if self._fragments is not None else []
        fragments.append(payload)
        if sum(map(len, fragments)) > self._longest:
            raise FrameError(CloseCode.TOO_BIG, f"a message may have {self._longest} bytes")
        if not final:
            # One piece each time: a list of thousands of empty fragments is memory too.
            self._fragments = [b"".join(fragments)]
            return CONTINUATION, b""
        self._fragments = None
        return self._kind, b"".join(fragments)


def read_close(payload: bytes) -> int | None:
    """Give the code of a close frame, None if it has none.

    Raises:
        FrameError: it is not a close frame as it has to be.

    """
    if not payload:
        return None
    if len(payload) == 1:
        raise FrameError(CloseCode.PROTOCOL_ERROR, "half a close code")
    code = int.from_bytes(payload[:2], "big")
    # 1004 to 1006 and 1015 stand for what was not said; they must not be said.
    if code < 1000 or code in {1004, 1005, 1006, 1015} or 1016 <= code < 3000 or code >= 5000:
        raise FrameError(CloseCode.PROTOCOL_ERROR, "no such close code")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise FrameError(CloseCode.INVALID_TEXT, "the reason is not UTF-8") from None
    return code


def _check_header(first: int, second: int) -> None:
    opcode, size = first & 0x0F, second & 0x7F
    if first & _RESERVED:
        raise FrameError(CloseCode.PROTOCOL_ERROR, "an extension that was not agreed on")
    if opcode not in {CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG}:
        raise FrameError(CloseCode.PROTOCOL_ERROR, "no such kind of frame")
    if not second & _MASKED:
        raise FrameError(CloseCode.PROTOCOL_ERROR, "a frame of a client has to be masked")
    if opcode >= CLOSE and (size > _LONGEST_CONTROL or not first & _FINAL):
        raise FrameError(CloseCode.PROTOCOL_ERROR, "a control frame that is too long or in pieces")


def _unmasked(data: bytearray, mask: bytes) -> bytes:
    size = len(data)
    repeated = (mask * (size // 4 + 1))[:size]
    # As two large numbers: far quicker than byte by byte.
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
