"""Who is called for which statuses."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from comfyui_exporter.jobs.update import ProgressStatus


@dataclass(frozen=True, slots=True)
class Hook:
    """A configured webhook."""

    url: str
    statuses: Collection[ProgressStatus]

    @property
    def key(self) -> str:
        """Names it in deliveries: the same for the same URL, also after a restart, and says nothing of it."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:16]
