"""Submitting a workflow, beside the reads: each on a connection of its own, so that it waits for none of them."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

log = logging.getLogger("comfyui_exporter")

_LONGEST_ANSWER = 16 * 1024 * 1024
"""Bytes: a refusal lists the errors of every node, and only a few of them are told."""

_LONGEST_WORD = 300
"""Characters of one thing that ComfyUI says."""

_NODES_TOLD = 3
"""Of a refusal for more nodes the first ones are told."""


@dataclass(frozen=True, slots=True)
class Submitter:
    """Submits to one ComfyUI. It holds no connection between submissions, so there is nothing to close.

    A connection that was kept could turn out to be dead with the prompt on its way, and nobody would know whether it
    was queued. Secrets and certificates are read anew each time for the same reason.
    """

    base: str
    """The URL of ComfyUI, without a slash at its end."""
    headers: Callable[[], Mapping[str, str]]
    tls: Callable[[], ssl.SSLContext | bool]
    timeout: float

    async def submit(
        self, workflow: Mapping[str, Any], client_id: str | None, extra_data: Mapping[str, Any] | None
    ) -> str | None:
        """POST /prompt; None, with the reason in the log, unless ComfyUI says that it queued it.

        Raises:
            TypeError: the workflow is not JSON.

        """
        body: dict[str, Any] = {"prompt": workflow}
        if client_id is not None:
            body["client_id"] = client_id
        if extra_data is not None:
            body["extra_data"] = extra_data
        encoded = json.dumps(body).encode()
        try:
            status, answer = await self._post(encoded)
        except TimeoutError:
            log.error("the workflow may or may not be submitted: no answer in %g s", self.timeout)
            return None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            log.error("the workflow is not submitted: %s", _why(error))
            return None
        return _read(status, answer)

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        headers = await asyncio.to_thread(self.headers)
        tls = await asyncio.to_thread(self.tls)
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=tls, force_close=True),
                timeout=aiohttp.ClientTimeout(total=self.timeout),
                headers={"Content-Type": "application/json", "User-Agent": "comfyui-exporter", **headers},
                cookie_jar=aiohttp.DummyCookieJar(),
            ) as session,
            session.post(URL(f"{self.base}/prompt", encoded=True), data=body, allow_redirects=False) as response,
        ):
            answer = bytearray()
            async for chunk in response.content.iter_any():
                answer += chunk
                if len(answer) > _LONGEST_ANSWER:
                    break
            return response.status, bytes(answer)


def _read(status: int, answer: bytes) -> str | None:
    try:
        said = json.loads(answer)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        said = {}
    if status != 200:
        log.error("ComfyUI refused the workflow (status %d)%s", status, _reasons(said))
        return None
    prompt_id = said.get("prompt_id")
    if not isinstance(prompt_id, str):
        log.error("ComfyUI answered the workflow without a prompt_id (status %d)", status)
        return None
    if said.get("node_errors"):
        # Some outputs are wrong and the others run.
        log.warning("ComfyUI takes only a part of the workflow of prompt %s%s", _word(prompt_id), _reasons(said))
    return prompt_id


def _reasons(said: Mapping[str, Any]) -> str:
    """ComfyUI's types and messages. Its details are left out: they repeat values that were submitted."""
    reasons = []
    error = said.get("error")
    if isinstance(error, dict):
        reasons.append(_typed(error))
    elif isinstance(error, str):
        reasons.append(_word(error))
    nodes = said.get("node_errors")
    if isinstance(nodes, dict):
        for node_id, node in list(nodes.items())[:_NODES_TOLD]:
            errors = node.get("errors") if isinstance(node, dict) else None
            if isinstance(errors, list) and errors and isinstance(errors[0], dict):
                reasons.append(f"node {_word(node_id)} ({_word(node.get('class_type'))}): {_typed(errors[0])}")
        if len(nodes) > _NODES_TOLD:
            reasons.append(f"and {len(nodes) - _NODES_TOLD} more nodes")
    return "".join(f"{'; ' if index else ': '}{reason}" for index, reason in enumerate(reasons))


def _typed(error: Mapping[str, Any]) -> str:
    return f"{_word(error.get('type'))}: {_word(error.get('message'))}"


def _word(said: object) -> str:
    text = said if isinstance(said, str) else "?"
    return "".join(c if c.isprintable() else " " for c in text[:_LONGEST_WORD])


def _why(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect to {error.host}:{error.port}: {error.strerror or error.os_error}"[:_LONGEST_WORD]
    return _word(str(error) or type(error).__name__)
