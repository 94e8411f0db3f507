"""The alerts that fire now."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from comfyui_exporter.alerts.alert import Alert

log = logging.getLogger("comfyui_exporter.alerts")

FORGET_AFTER = 20 * 60.0
"""Seconds without a word after which an alert is taken as over: three repeats of five to six minutes, and some more."""

LATE = 120.0
"""Seconds in which a message from before an alert was resolved may still come: that Alertmanager tried again, or that
another one of a cluster sent. Below the time between repeats, so that what does fire is shown with the next one."""

MOST_ALERTS = 1_000

WATCHDOG = "Watchdog"
"""Always fires, to show that alerts arrive: nothing that anybody wants to see among those that mean something."""

Reader = Callable[[Alert, float], None]
"""Is told an alert and when it was heard of; must return at once and raise nothing."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An alert that fires, and when it was heard of last."""

    alert: Alert
    heard_at: float


@dataclass(frozen=True, slots=True)
class _Ended:
    until: datetime | None
    heard_at: float


class AlertBook:
    """Keeps what fires until it is resolved, or until nothing was heard of it for `forget_after` seconds.

    Duplicates and messages that overtook each other do no harm. `now` is a clock in seconds that never goes back.
    """

    def __init__(self, now: Callable[[], float], forget_after: float = FORGET_AFTER, most: int = MOST_ALERTS) -> None:
        self._now = now
        self._forget_after = forget_after
        self._most = most
        self._readers: list[Reader] = []
        self._firing: dict[str, Kept] = {}
        self._ended: dict[str, _Ended] = {}
        """Those resolved of late, oldest first."""
        self._full = False

    def add_reader(self, reader: Reader) -> None:
        """Tell this one from now on: whatever is heard of those that fire, and once that one does not any more."""
        self._readers.append(reader)

    @property
    def firing(self) -> Iterator[Kept]:
        """Those that fire, in the order in which they were first heard of."""
        return iter(self._firing.values())

    def take(self, alert: Alert) -> bool:
        """Take in what Alertmanager says; whether it is kept or told."""
        if alert.labels.get("alertname") == WATCHDOG:
            return False
        self._tidy()
        return self._fires(alert) if alert.firing else self._resolved(alert)

    def restore(self, alert: Alert, heard_at: float) -> None:
        """Take in what was known before a restart."""
        self._firing[alert.identity] = Kept(alert, heard_at)
        self._tell(alert, heard_at)

    def forget(self) -> None:
        """Let go of what was not repeated; to be called every now and then."""
        now = self._now()
        for kept in [kept for kept in self._firing.values() if now - kept.heard_at >= self._forget_after]:
            del self._firing[kept.alert.identity]
            self._tell(kept.alert.unheard(), now)

    def _fires(self, alert: Alert) -> bool:
        ended = self._ended.get(alert.identity)
        if ended is not None and _not_after(alert.starts_at, ended.until):
            return False
        before = self._firing.get(alert.identity)
        if before is None and len(self._firing) >= self._most:
            if not self._full:
                log.warning("too many alerts fire, further ones are not shown", extra={"alerts": self._most})
            self._full = True
            return False
        self._full = False
        if before is not None and _before(alert.starts_at, before.alert.starts_at):
            alert = before.alert  # it began anew since, and an end of before must not end that
        now = self._now()
        self._firing[alert.identity] = Kept(alert, now)
        self._tell(alert, now)
        return True

    def _resolved(self, alert: Alert) -> bool:
        before = self._firing.get(alert.identity)
        if before is not None and _not_after(alert.ends_at, before.alert.starts_at):
            return False  # it fires anew since
        now = self._now()
        until = alert.ends_at or alert.starts_at
        known = self._ended.pop(alert.identity, None)
        if known is not None and _not_after(until, known.until):
            until = known.until
        self._ended[alert.identity] = _Ended(until, now)
        if before is None:
            return False
        del self._firing[alert.identity]
        self._tell(alert, now)
        return True

    def _tidy(self) -> None:
        now = self._now()
        for identity, ended in tuple(self._ended.items()):
            if now - ended.heard_at < LATE and len(self._ended) <= self._most:
                break
            del self._ended[identity]

    def _tell(self, alert: Alert, at: float) -> None:
        for reader in self._readers:
            reader(alert, at)


def _before(one: datetime | None, other: datetime | None) -> bool:
    """Whether it is known that one is before the other."""
    return one is not None and other is not None and one < other


def _not_after(one: datetime | None, other: datetime | None) -> bool:
    """Whether it is known that one is not after the other."""
    return one is not None and other is not None and one <= other
