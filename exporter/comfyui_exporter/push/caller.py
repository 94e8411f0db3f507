"""Who asks, for the time of one request: told by whoever checked credentials before the request got here."""

from __future__ import annotations

from contextvars import ContextVar
from enum import Enum


class Caller(Enum):
    """What somebody proved."""

    NOBODY = "nobody"
    CERTIFICATE = "certificate"
    """A client certificate that was verified."""
    TOKEN = "push token"  # noqa: S105  what it is, not which
    """The push token, not one that is good for one job."""
    USER = "user"
    """A user name with its password."""


CALLER: ContextVar[Caller] = ContextVar("caller", default=Caller.NOBODY)
"""Each request has a task, and so a value, of its own."""
