"""The task that makes the calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Protocol

from comfyui_exporter.webhooks.delivery import Delivery
from comfyui_exporter.webhooks.outbox import Outbox
from comfyui_exporter.webhooks.poster import Outcome, Verdict
from comfyui_exporter.webhooks.schedule import Schedule

log = logging.getLogger("comfyui_exporter.webhooks")

MOST_AT_ONCE = 32
"""Receivers that are called at the same time; as many may hang until their timeout before others wait for them."""

LONGEST_PAUSE = 60.0
"""Seconds after which we look again although nothing is due: the wall clock may have been set."""

STORE_PAUSE = 5.0
"""Seconds until an outbox that raised is asked again."""

_MOST_FAILING = 1000
"""Receivers that we remember as failing, so as to say it once."""


class Counts(Protocol):
    """Is told what became of each try."""

    def delivered(self) -> None:
        """It was taken."""
        ...

    def failed(self) -> None:
        """It was not, and is tried again."""
        ...

    def dead(self) -> None:
        """It is given up."""
        ...

    def refused(self) -> None:
        """It is not allowed."""
        ...


async def pause(woken: asyncio.Event, seconds: float) -> None:
    """Wait until somebody wakes us, or so long."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(woken.wait(), seconds)


class Sender:
    """Tries what is due, one call at a time for each receiver: a dead one delays no other.

    `post` tries once, `wall` gives Unix seconds, `pause` waits for an event or for seconds.
    """

    def __init__(
        self,
        outbox: Outbox,
        post: Callable[[Delivery], Awaitable[Outcome]],
        schedule: Schedule,
        wall: Callable[[], float],
        counts: Counts,
        pause: Callable[[asyncio.Event, float], Awaitable[None]] = pause,
    ) -> None:
        self._outbox = outbox
        self._post = post
        self._schedule = schedule
        self._wall = wall
        self._counts = counts
        self._pause = pause
        self._woken = asyncio.Event()
        self._never = asyncio.Event()
        self._calls: dict[str, asyncio.Task[None]] = {}
        self._failing: OrderedDict[str, None] = OrderedDict()
        self._store_failing: set[str] = set()
        outbox.attend(self._woken.set)

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            while True:
                self._woken.clear()
                try:
                    wait = await self._begin_calls()
                    self._store_failing.discard("read")
                except Exception as error:
                    self._store_fails("read", error)
                    wait = STORE_PAUSE
                await self._pause(self._woken, wait)
        finally:
            calls = list(self._calls.values())
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    async def _begin_calls(self) -> float:
        """Begin what is due; the seconds after which more may be."""
        while len(self._calls) < MOST_AT_ONCE:
            due = await self._outbox.due(self._wall(), MOST_AT_ONCE, tuple(self._calls))
            if not due:
                next_at = await self._outbox.next_due(tuple(self._calls))
                return LONGEST_PAUSE if next_at is None else min(max(0.0, next_at - self._wall()), LONGEST_PAUSE)
            for delivery in due:
                if delivery.receiver not in self._calls and len(self._calls) < MOST_AT_ONCE:
                    call = asyncio.create_task(self._call(delivery), name="webhook call")
                    self._calls[delivery.receiver] = call
        return LONGEST_PAUSE

    async def _call(self, delivery: Delivery) -> None:
        try:
            try:
                outcome = await self._post(delivery)
            except Exception:
                log.exception("unexpected error in a webhook call")
                outcome = Outcome(Verdict.FAILED, "unexpected error")
            await self._note(delivery, outcome)
        finally:
            del self._calls[delivery.receiver]
            self._woken.set()

    async def _note(self, delivery: Delivery, outcome: Outcome) -> None:
        if outcome.verdict is Verdict.DELIVERED:
            self._answers(delivery)
            self._counts.delivered()
            await self._surely(lambda: self._outbox.delivered(delivery.delivery_id))
            return
        next_at = None
        if outcome.verdict is Verdict.FAILED:
            now, attempts = self._wall(), delivery.attempts + 1
            next_at = self._schedule.next_try(attempts, delivery.created_at, now, outcome.retry_after)
        self._fails(delivery, outcome.why)
        if next_at is not None:
            again = delivery.again(next_at)
            self._counts.failed()
            await self._surely(lambda: self._outbox.postponed(again))
            return
        if outcome.verdict is Verdict.REFUSED:
            self._counts.refused()
        else:
            self._counts.dead()
            log.warning("a webhook call is given up", extra=_about(delivery))
        await self._surely(lambda: self._outbox.buried(delivery.delivery_id))

    async def _surely(self, note: Callable[[], Awaitable[None]]) -> None:
        """Note a result, however long it takes: whoever does not know that a call was made makes it again and again."""
        while True:
            try:
                await note()
            except Exception as error:
                self._store_fails("write", error)
            else:
                self._store_failing.discard("write")
                return
            await self._pause(self._never, STORE_PAUSE)

    def _fails(self, delivery: Delivery, why: str) -> None:
        if delivery.receiver not in self._failing:
            log.warning("a webhook receiver fails: %s", why, extra=_about(delivery))
        self._failing[delivery.receiver] = None
        if len(self._failing) > _MOST_FAILING:
            self._failing.popitem(last=False)

    def _answers(self, delivery: Delivery) -> None:
        if delivery.receiver in self._failing:
            del self._failing[delivery.receiver]
            log.info("a webhook receiver takes calls again", extra={"receiver": delivery.receiver})

    def _store_fails(self, what: str, error: Exception) -> None:
        if what not in self._store_failing:
            log.error("the store of webhook calls failed", exc_info=error)
        self._store_failing.add(what)


def _about(delivery: Delivery) -> dict[str, str]:
    return {"receiver": delivery.receiver, "run_id": delivery.run_id, "status": delivery.status}
