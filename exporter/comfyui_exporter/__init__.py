"""Watches ComfyUI servers from outside and tells Prometheus the truth about their jobs."""

from __future__ import annotations

__version__ = "0.1.0"
