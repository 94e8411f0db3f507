"""The bodies of requests: JSON objects of a bounded size."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from comfyui_exporter.web.errors import ApiError

PATIENCE = 30.0
"""Seconds that a body may take."""


async def read_object(request: web.Request, largest: int, patience: float = PATIENCE) -> dict[str, Any]:
    """Read a JSON object of at most so many bytes.

    Raises:
        ApiError: it is none, or compressed, or larger, or takes too long.

    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ApiError(415, "unsupported_media_type", "the body is compressed; send it as it is")
    body = bytearray()
    try:
        async with asyncio.timeout(patience):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > largest:
                    raise ApiError(413, "too_large", f"the body is larger than {largest} bytes")
    except TimeoutError:
        raise ApiError(408, "too_slow", f"the body did not come within {patience:g} seconds") from None
    try:
        data = json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise ApiError(400, "bad_json", "the body is no JSON") from None
    if not isinstance(data, dict):
        raise ApiError(400, "bad_request", "the body is no JSON object")
    return data
