"""One call that has to be made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from comfyui_exporter.config.webhook_urls import parse_hook_url

REGISTRATION = "registration"
"""The `hook` of deliveries to the URL of a registration."""


@dataclass(frozen=True)
class Delivery:
    """What is sent to whom, and when next. Holds no secret: `hook` says which configuration has it."""

    delivery_id: str
    """The same at every try, so that a receiver can drop what it had already."""
    hook: str
    """Key of the configured webhook, the same after a restart; or `registration`."""
    url: str
    run_id: str
    status: str
    body: str
    """JSON text; what is signed and sent."""
    created_at: float
    """Unix seconds."""
    next_at: float
    """Unix seconds from which on it is to be tried (again)."""
    attempts: int = 0
    """How many tries have failed."""

    @cached_property
    def receiver(self) -> str:
        """Scheme, host and port: who is tried by one call at a time, and what logs may show of the URL."""
        try:
            url = parse_hook_url(self.url)
        except ValueError:
            return "unusable"  # as the rules were narrower when it was kept; its try will say so
        host = f"[{url.host}]" if ":" in url.host else url.host
        return f"{url.scheme}://{host}:{url.port}"

    def again(self, next_at: float) -> Delivery:
        """The same after one more failed try."""
        return replace(self, attempts=self.attempts + 1, next_at=next_at)
