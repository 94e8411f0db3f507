"""The bodies of requests: JSON objects of a bounded size."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from comfyui_exporter.web.errors import ApiError


async def read_object(request: web.Request, largest: int) -> dict[str, Any]:
    """Read a JSON object of at most so many bytes.

    Raises:
        ApiError: it is none, or larger.

    """
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > largest:
            raise ApiError(413, "too_large", f"the body is larger than {largest} bytes")
    try:
        data = json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise ApiError(400, "bad_json", "the body is no JSON") from None
    if not isinstance(data, dict):
        raise ApiError(400, "bad_request", "the body is no JSON object")
    return data
