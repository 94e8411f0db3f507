"""What can be wrong with a store."""

from __future__ import annotations


class StoreRefusedError(Exception):
    """The store cannot be used, and the message says why; nothing in it was changed."""


class StoreAwayError(Exception):
    """The store could not be reached, or could not write; it may work later."""


class StoreLostError(Exception):
    """Another exporter has taken the store over; whatever we write would spoil its counts."""


class BadRowsError(Exception):
    """The store is there and refuses what is to be written, however often that is tried."""
