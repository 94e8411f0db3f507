"""Binary frames of preview images."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

PREVIEW_IMAGE = 1
"""Number of a frame with an image alone; 4 bytes big-endian, then the image's kind (1: JPEG), then the image."""

PREVIEW_IMAGE_WITH_METADATA = 4
"""Number of a frame with the length of a JSON object, the object, and the image."""

_JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqgtObDoKrarYqMyP/L2u71////m8H////6"
    "/+b9//j/2wBDASstLTw1PHZBQXb4pYyl+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj/wAARCAAQABAD"
    "ASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAABAP/xAAXEAADAQAAAAAAAAAAAAAAAAAAAgNh/8QAFAEBAAAAAAAAAAAAAAAAAAAAAP/EABYR"
    "AQEBAAAAAAAAAAAAAAAAAAMAAv/aAAwDAQACEQMRAD8AEkcEJHC6RwQkcGkgrf/Z"
)
"""A small colour gradient, made for this purpose."""

_COMMENT_BYTES = 4400
"""A real 64 x 64 preview has about 4.7 kB: the rest is a comment in the JPEG."""


def _padded() -> bytes:
    comment = b"\xff\xfe" + struct.pack(">H", _COMMENT_BYTES + 2) + b"." * _COMMENT_BYTES
    return _JPEG[:2] + comment + _JPEG[2:]


JPEG = _padded()


def plain_frame() -> bytes:
    """The frame for clients that did not negotiate metadata."""
    return struct.pack(">II", PREVIEW_IMAGE, 1) + JPEG


def frame_with_metadata(metadata: dict[str, Any]) -> bytes:
    """The frame for clients that did."""
    encoded = json.dumps(metadata).encode()
    return struct.pack(">II", PREVIEW_IMAGE_WITH_METADATA, len(encoded)) + encoded + JPEG
