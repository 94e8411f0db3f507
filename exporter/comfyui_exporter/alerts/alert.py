"""One alert, as Alertmanager told it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Alert:
    """What is known of one alert. Its texts are clean and bounded, see `webhook`."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    firing: bool
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    """Of a resolved one; None where nobody said when it ended."""
    fingerprint: str | None = None
    """Alertmanager's hash of the labels, for those who look it up there."""
    generator_url: str | None = None

    @cached_property
    def identity(self) -> str:
        """The same for all that Alertmanager ever says of this alert: made of its labels alone."""
        return hashlib.sha256(json.dumps(sorted(self.labels.items())).encode()).hexdigest()

    def unheard(self) -> Alert:
        """The same as resolved, with nobody having said so."""
        return replace(self, firing=False, ends_at=None)

    def data(self) -> dict[str, Any]:
        """Give it as clients see it, with Alertmanager's names."""
        return {
            "status": "firing" if self.firing else "resolved",
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
            "startsAt": _time(self.starts_at),
            "endsAt": _time(self.ends_at),
            "fingerprint": self.fingerprint,
            "generatorURL": self.generator_url,
        }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
