"""Errors of the API, as clients get them."""

from __future__ import annotations


class ApiError(Exception):
    """Becomes `{"error": {"code", "message"}}` with that status."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
