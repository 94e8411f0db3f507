"""Whether a server became faster or slower as a whole: another GPU, a hot one, or one that somebody else uses too."""

from __future__ import annotations

import statistics
from typing import Generic, TypeVar

Lesson = TypeVar("Lesson")

_STRANGE = 0.15
"""Logarithm of actual / estimated seconds: what is less is noise."""

_UNUSUAL = 2.0
"""Times the usual error of such estimates."""

_CERTAIN = 4
"""So many jobs in a row that are strange in the same way are no chance."""

_MOST_CHANGED = 100

_ALIKE = 0.5
"""How far, as a share of the usual one, errors may be apart that have the same cause."""


class Pace(Generic[Lesson]):
    """Holds strange lessons back until it is clear whether the jobs or the server have changed."""

    def __init__(self) -> None:
        self.value = 0.0
        """Logarithm of how many times longer everything takes than at the beginning."""
        self._held: list[tuple[Lesson, str, float]] = []
        self._changed = set[str]()
        """Settings that take another time than they did, and the server is not why."""

    def weigh(self, lesson: Lesson, settings: str, error: float, usual: float) -> list[Lesson]:
        """Take in a lesson, how far off the estimate was and usually is, and give what can be learned from now.

        One that changes the `value` is given together with those that led to it, so that none of them counts twice.
        """
        strange = abs(error) > max(_STRANGE, _UNUSUAL * usual)
        if strange and settings in self._changed:
            return [lesson]
        self._changed.discard(settings)
        ready: list[Lesson] = []
        if self._held and (not strange or (error > 0) != (self._held[0][2] > 0)):
            ready = self._let_go()
        if not strange:
            return [*ready, lesson]
        self._held.append((lesson, settings, error))
        if len(self._held) < _CERTAIN:
            return ready
        errors = [error for _, _, error in self._held]
        shift = statistics.median(errors)
        if len({settings for _, settings, _ in self._held}) == 1:
            if len(self._changed) >= _MOST_CHANGED:
                self._changed.clear()
            self._changed.add(settings)
        elif max(errors) - min(errors) < _ALIKE * abs(shift):
            self.value += shift
        return [*ready, *self._let_go()]

    def _let_go(self) -> list[Lesson]:
        lessons = [lesson for lesson, _, _ in self._held]
        self._held.clear()
        return lessons
