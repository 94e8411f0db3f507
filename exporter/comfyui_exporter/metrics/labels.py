"""Label values from outside: made harmless, and bounded in number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

OTHER = "other"
"""What a value becomes when there are too many."""

VALUE_LENGTH = 200
"""Characters that a label value may have. Node classes and prompt ids are far shorter; a text prompt is far longer."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]+")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NAME = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
_RESERVED = frozenset({"server", "le", "quantile", "job", "instance"})


@dataclass(frozen=True, slots=True)
class Limits:
    """How many values and series one server may bring; see the configuration's `limits`."""

    label_values: int = 50
    """Distinct values of one label, over all families."""
    family_series: int = 1000
    """Label sets of one family."""


def clean(value: str) -> str:
    """A value fit for a label.

    Control characters become a space, lone surrogates U+FFFD, and what is beyond `VALUE_LENGTH` is cut off.
    """
    if not (value.isascii() and value.isprintable()):
        value = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", _CONTROL.sub(" ", value))
    return value[:VALUE_LENGTH]


def check_job_labels(job_labels: Sequence[str], taken: Sequence[str]) -> None:
    """Check the names of the configured `job_labels` against the labels that a family already has.

    Raises:
        ValueError: a name is no label name, is given twice, is reserved, or is taken.
    """
    for index, name in enumerate(job_labels):
        if not _NAME.fullmatch(name) or name.startswith("__"):
            msg = f"job label {name!r} is not a valid label name"
            raise ValueError(msg)
        if name in taken or name in _RESERVED:
            msg = f"job label {name!r} is already a label of its own"
            raise ValueError(msg)
        if name in job_labels[:index]:
            msg = f"job label {name!r} is given twice"
            raise ValueError(msg)


@dataclass(slots=True)
class _Admitted:
    values: dict[str, set[str]] = field(default_factory=dict)
    sets: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)


class LabelBounds:
    """Which label values and label sets each server has brought so far; what comes past the limits is folded."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._servers: dict[str, _Admitted] = {}

    def fold(
        self, server: str, family: str, labels: Sequence[str], bounded: Sequence[str], values: tuple[str, ...]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Admit a label set, or fold it: each value that is one too many, then, if the set is, all bounded values.

        Values of labels that are not bounded (our own enumerations) are never changed. Returns the label set to use
        and the names of the labels that were folded.
        """
        admitted = self._servers.setdefault(server, _Admitted())
        folded = [
            label
            for label, value in zip(labels, values, strict=True)
            if label in bounded and not self._admit_value(admitted, label, value)
        ]
        result = self._replaced(labels, values, folded)
        sets = admitted.sets.setdefault(family, set())
        if result not in sets:
            if len(sets) < self._limits.family_series:
                sets.add(result)
            else:
                folded = [
                    label for label, value in zip(labels, values, strict=True) if label in bounded and value != OTHER
                ]
                result = self._replaced(labels, result, bounded)
        return result, tuple(folded)

    def admit(
        self, server: str, family: str, labels: Sequence[str], bounded: Sequence[str], values: tuple[str, ...]
    ) -> None:
        """Admit a label set whatever the limits: it has been exposed before and must not change its name."""
        admitted = self._servers.setdefault(server, _Admitted())
        admitted.sets.setdefault(family, set()).add(values)
        for label, value in zip(labels, values, strict=True):
            if label in bounded and value not in ("", OTHER):
                admitted.values.setdefault(label, set()).add(value)

    def forget(self, server: str) -> None:
        """Forget what a server brought."""
        self._servers.pop(server, None)

    def _admit_value(self, admitted: _Admitted, label: str, value: str) -> bool:
        # Prometheus takes an empty value for an absent label, and `other` is where the rest goes: neither uses a place.
        if value in ("", OTHER):
            return True
        known = admitted.values.setdefault(label, set())
        if value not in known:
            if len(known) >= self._limits.label_values:
                return False
            known.add(value)
        return True

    @staticmethod
    def _replaced(labels: Sequence[str], values: tuple[str, ...], folded: Sequence[str]) -> tuple[str, ...]:
        if not folded:
            return values
        return tuple(OTHER if label in folded else value for label, value in zip(labels, values, strict=True))
