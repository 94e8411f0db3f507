"""What ComfyUI makes of the fields of a submitted prompt."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from comfyui_exporter.simulator.prompt_queue import Item

SENSITIVE_KEYS = ("auth_token_comfy_org", "api_key_comfy_org")
"""Keys of extra_data that ComfyUI keeps out of the history, and in newer versions out of /queue."""


def canonical_prompt_id(value: object) -> str | None:
    """The value if it is a UUID in canonical lowercase form, else None."""
    try:
        return value if isinstance(value, str) and str(uuid.UUID(value)) == value else None
    except ValueError:
        return None


def extra_data_of(body: Mapping[str, Any]) -> Any:
    """The client's extra_data with its client_id; TypeError where it is not an object and cannot take one."""
    extra_data = body.get("extra_data", {})
    if isinstance(extra_data, dict):
        extra_data = dict(extra_data)
    if "client_id" in body:
        extra_data["client_id"] = body["client_id"]
    return extra_data


def stamp(extra_data: Any, now_ms: int) -> None:
    """What newer versions do to a valid prompt's extra_data: no credentials, and the time of submission."""
    for key in SENSITIVE_KEYS:
        if key in extra_data:
            del extra_data[key]
    extra_data["create_time"] = now_ms


def client_id_of(extra_data: Any) -> Any:
    """The client_id that the worker finds; TypeError, which ends the worker, where extra_data is null or a number."""
    if "client_id" in extra_data:
        return extra_data["client_id"]
    return None


def job_type_of(extra_data: Any) -> str:
    """The tag by which the ledger groups runs."""
    job_type = extra_data.get("job_type") if isinstance(extra_data, dict) else None
    return job_type if isinstance(job_type, str) and job_type else "unknown"


def without_secrets(item: Item) -> list[Any]:
    """The five elements of a queue item as the history keeps them."""
    as_list = item.as_list()
    if isinstance(item.extra_data, dict):
        as_list[3] = {key: value for key, value in item.extra_data.items() if key not in SENSITIVE_KEYS}
    return as_list
