"""What tests of the push service use."""

from __future__ import annotations

from push.conftest import serve

__all__ = ["serve"]
