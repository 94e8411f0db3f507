"""The declaration of a metric family: all that is known of it before the first sample."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The types of metric that we use; the values are those of the `# TYPE` line."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


# Compared and hashed by identity: families are constants, and they are the key of every dictionary on the hot path.
@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """One metric family. Declared in `families` and nowhere else."""

    name: str
    """As in the text format: a counter's ends in `_total`."""
    kind: Kind
    help: str
    source: str
    """Where the truth comes from, in a short phrase, for the metrics reference."""
    labels: tuple[str, ...] = ()
    """Besides `server`, and before the configured `job_labels`."""
    per_server: bool = True
    """Whether it carries the label `server`; the others are series about the exporter itself."""
    lasting: bool = False
    """Whether it continues over a restart of the exporter."""
    buckets: str | None = None
    """Key of the bucket bounds in the configuration; histograms only."""
    exemplar: bool = False
    """Whether its samples may carry an exemplar."""
    bounded: tuple[str, ...] = ()
    """Those of `labels` whose values come from outside and are folded into `other` past the limits."""
    job_labels: bool = False
    """Whether the configured `job_labels` follow its own labels."""
