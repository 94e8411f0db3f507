"""What ComfyUI answers to a request, and how a client says that it received it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from comfyui_exporter.simulator.ledger import Receipt

TROUBLE = "500 Internal Server Error\n\nServer got itself in trouble"
"""The plain-text body of every 500: aiohttp's answer to an exception in a handler."""

HANDLER_ERRORS = (TypeError, ValueError, KeyError, AttributeError, IndexError)
"""What a body or a query of unexpected shape raises in ComfyUI's handlers, which answer it with a 500."""


class ComfyUIDownError(ConnectionError):
    """Nobody answers: the process was killed, or exited by itself."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One response: JSON, or text where the body is a string."""

    status: int
    body: Any
    receipt: Receipt

    def delivered(self) -> Any:
        """Tell the ledger that the client received the whole body, and return it."""
        self.receipt.delivered()
        return self.body
