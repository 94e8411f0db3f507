"""What jobs of one kind took lately: few numbers for each of many kinds, the late ones counting more."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_KINDS_KEPT = 1_000
_VALUES_KEPT = 24
_FADING = 0.85
"""Weight of a value against that of the next: after 5 jobs a value counts half, so a server that became faster, or
another setting that we do not know to matter, is believed soon."""

LEAST_SECONDS = 1e-3
"""Resolution of ComfyUI's timestamps; nothing is expected to take less."""


class Recent(Generic[Key]):
    """The latest values by key, bounded: keys that were not used for long go first."""

    def __init__(self, kinds: int = _KINDS_KEPT, values: int = _VALUES_KEPT) -> None:
        self._kinds = kinds
        self._values = values
        self._by_key: OrderedDict[Key, list[float]] = OrderedDict()
        self._medians: dict[Key, float] = {}
        """Those that were asked for since they changed: all jobs of a queue ask for the same few."""

    def learn(self, key: Key, value: float) -> None:
        """Take in one value."""
        # A list: most keys have one value or two, and a deque has room for 64.
        values = self._by_key.setdefault(key, [])
        self._by_key.move_to_end(key)
        values.append(value)
        if len(values) > self._values:
            del values[0]
        self._medians.pop(key, None)
        if len(self._by_key) > self._kinds:
            gone, _ = self._by_key.popitem(last=False)
            self._medians.pop(gone, None)

    def count(self, key: Key) -> int:
        """How many values there are of a key, at most as many as are kept."""
        return len(self._by_key.get(key, ()))

    def median(self, key: Key) -> float | None:
        """Give the usual value of a key, late ones counting more; None if there is none."""
        known = self._medians.get(key)
        if known is None and (values := self._by_key.get(key)):
            known = self._medians[key] = weighted_median(values)
        return known


def weighted_median(values: Iterable[float]) -> float:
    """Give the median of values in the order in which they came, the last one counting most."""
    weighted = []
    total, weight = 0.0, 1.0
    for value in values:
        weighted.append((value, weight))
        total += weight
        weight /= _FADING
    weighted.sort()
    passed = 0.0
    for place, (value, weight) in enumerate(weighted):
        passed += weight
        if math.isclose(passed, total / 2) and place + 1 < len(weighted):
            return (value + weighted[place + 1][0]) / 2
        if passed > total / 2:
            return value
    return weighted[-1][0]
