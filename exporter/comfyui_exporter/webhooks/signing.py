"""The headers of a call, by the Standard Webhooks specification (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import hashlib
import hmac

from comfyui_exporter.config.secret_files import ENCODED_KEY


def headers_of(delivery_id: str, timestamp: int, body: str, secret: str | None) -> dict[str, str]:
    """Name the delivery and the second of this try; with a secret, prove that all of it comes from whoever has it."""
    headers = {"webhook-id": delivery_id, "webhook-timestamp": str(timestamp)}
    if secret is not None:
        signed = hmac.new(_key(secret), f"{delivery_id}.{timestamp}.{body}".encode(), hashlib.sha256)
        headers["webhook-signature"] = f"v1,{base64.b64encode(signed.digest()).decode()}"
    return headers


def _key(secret: str) -> bytes:
    if secret.startswith(ENCODED_KEY):
        return base64.b64decode(secret.removeprefix(ENCODED_KEY))
    return secret.encode()
