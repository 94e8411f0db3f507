"""Short keys for rows that are told apart by long texts: PostgreSQL refuses index entries of more than 2.7 kB."""

from __future__ import annotations

import hashlib


def key_of(*parts: object) -> str:
    """Give the same short text for the same parts, and another for others."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()
