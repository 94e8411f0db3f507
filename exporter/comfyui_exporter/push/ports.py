"""What the push service needs of those who run it."""

from __future__ import annotations

from typing import Protocol


class Unavailable(Exception):  # noqa: N818  the name of the error that clients get
    """A question cannot be answered now; its text is what the client is told."""


class Answers(Protocol):
    """Who answers the questions of clients. May take its time: only the client that asked waits.

    What it raises besides `Unavailable` is a defect: logged, and told to the client as `internal`.
    """

    async def job_progress(self, *, job_id: str | None, prompt_id: str | None) -> object:
        """Give `job_data` with nodes, or anything else that msgspec can encode; None if there is no such job."""
        ...

    async def queue_statistics(self) -> object:
        """Give the statistics, as anything that msgspec can encode."""
        ...


class Counts(Protocol):
    """Who counts."""

    def clients(self, number: int) -> None:
        """So many are connected now."""
        ...

    def sent(self, messages: int) -> None:
        """So many more messages were handed over to sockets."""
        ...

    def dropped(self, messages: int) -> None:
        """So many more will never be: newer ones replaced them, or their client is gone."""
        ...


class NoCounts:
    """Counts nothing."""

    def clients(self, number: int) -> None:
        """Nobody wants to know."""

    def sent(self, messages: int) -> None:
        """Nobody wants to know."""

    def dropped(self, messages: int) -> None:
        """Nobody wants to know."""
