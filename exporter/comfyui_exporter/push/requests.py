"""What clients may say, and what they are told if it cannot be understood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from comfyui_exporter.push.messages import message_frame
from comfyui_exporter.push.subscription import MOST_VALUES

LONGEST_ID = 200
"""Bytes of the `id` of a request, as JSON."""

_LONGEST_TEXT = 512
"""Characters of an id of a job, prompt or batch, of a server's name."""

_NOTHING = msgspec.Raw()
_Text = Annotated[str, msgspec.Meta(max_length=_LONGEST_TEXT)]
JobId = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | _Text
_Texts = Annotated[list[_Text], msgspec.Meta(max_length=MOST_VALUES)]


class RequestError(Exception):
    """A request that is refused; the socket stays open."""

    def __init__(self, code: str, message: str, request_id: msgspec.Raw | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.request_id = request_id


class GetJobProgress(msgspec.Struct, forbid_unknown_fields=True, frozen=True, tag="get_job_progress"):
    """How is this job, with its nodes?"""

    job_id: JobId | None = None
    prompt_id: _Text | None = None
    id: msgspec.Raw = _NOTHING


class GetQueueStatistics(msgspec.Struct, forbid_unknown_fields=True, frozen=True, tag="get_queue_statistics"):
    """How are the queues?"""

    id: msgspec.Raw = _NOTHING


class Subscribe(msgspec.Struct, forbid_unknown_fields=True, frozen=True, tag="subscribe"):
    """Tell me of these only."""

    job_ids: Annotated[list[JobId], msgspec.Meta(max_length=MOST_VALUES)] | None = None
    prompt_ids: _Texts | None = None
    batch_ids: _Texts | None = None
    servers: _Texts | None = None
    statuses: _Texts | None = None
    id: msgspec.Raw = _NOTHING


class Unsubscribe(msgspec.Struct, forbid_unknown_fields=True, frozen=True, tag="unsubscribe"):
    """Tell me of everything again."""

    id: msgspec.Raw = _NOTHING


class Ping(msgspec.Struct, forbid_unknown_fields=True, frozen=True, tag="ping"):
    """Are you there?"""

    id: msgspec.Raw = _NOTHING


Request = GetJobProgress | GetQueueStatistics | Subscribe | Unsubscribe | Ping


class _Envelope(msgspec.Struct):
    type: msgspec.Raw = _NOTHING
    id: msgspec.Raw = _NOTHING


_envelopes = msgspec.json.Decoder(_Envelope)
_types = msgspec.json.Decoder(str)
_requests: dict[str, msgspec.json.Decoder[Any]] = {
    "get_job_progress": msgspec.json.Decoder(GetJobProgress),
    "get_queue_statistics": msgspec.json.Decoder(GetQueueStatistics),
    "subscribe": msgspec.json.Decoder(Subscribe),
    "unsubscribe": msgspec.json.Decoder(Unsubscribe),
    "ping": msgspec.json.Decoder(Ping),
}


def read_request(text: bytes) -> tuple[Request, msgspec.Raw | None]:
    """Read a message of a client, and the `id` that the answer repeats.

    Raises:
        RequestError: it is refused.

    """
    try:
        envelope = _envelopes.decode(text)
    except msgspec.ValidationError:
        raise RequestError("bad_request", "a message is a JSON object") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        raise RequestError("bad_json", "the message is not JSON, or nested too deeply") from None
    request_id = _request_id(envelope.id)
    kind = _kind(envelope.type, request_id)
    try:
        request: Request = _requests[kind].decode(text)
    except (msgspec.ValidationError, RecursionError, ValueError) as error:
        raise RequestError("bad_request", f"{kind}: {error}"[:300], request_id) from None
    if isinstance(request, GetJobProgress) and request.job_id is None and request.prompt_id is None:
        raise RequestError("bad_request", "get_job_progress needs a job_id or a prompt_id", request_id)
    return request, request_id


def answer_frame(kind: str, request_id: msgspec.Raw | None, data: object = msgspec.UNSET) -> bytes:
    """Make an answer; with an id only if the request had one."""
    message: dict[str, Any] = {"type": kind}
    if data is not msgspec.UNSET:
        message["data"] = data
    return _with_id(message, request_id)


def error_frame(code: str, message: str, request_id: msgspec.Raw | None = None) -> bytes:
    """Make a refusal."""
    return _with_id({"type": "error", "error": {"code": code, "message": message}}, request_id)


def _with_id(message: Mapping[str, Any], request_id: msgspec.Raw | None) -> bytes:
    return message_frame(message if request_id is None else {**message, "id": request_id})


def _kind(given: msgspec.Raw, request_id: msgspec.Raw | None) -> str:
    if not bytes(given):
        raise RequestError("bad_request", "the message has no type", request_id)
    try:
        kind = _types.decode(given)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise RequestError("bad_request", "the type of a message is a string", request_id) from None
    if kind not in _requests:
        shown = kind[:40]
        raise RequestError("unknown_type", f"{shown!r} is none of {', '.join(_requests)}", request_id)
    return kind


def _request_id(given: msgspec.Raw) -> msgspec.Raw | None:
    text = bytes(given)
    if text in {b"", b"null"}:
        return None
    if len(text) > LONGEST_ID or text[:1] not in {b'"', b"-", *(b"%d" % digit for digit in range(10))}:
        raise RequestError("bad_request", f"an id is a string or a number, of up to {LONGEST_ID} bytes")
    # A copy: the original refers to the whole message.
    return msgspec.Raw(text)
