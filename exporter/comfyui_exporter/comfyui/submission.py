"""What a submitter sent along with a job: tags in `extra_data`, and the job type that its graph stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import msgspec

from comfyui_exporter.comfyui.features import features_of
from comfyui_exporter.comfyui.graph import GraphReader, class_types, needed_nodes
from comfyui_exporter.comfyui.json import NULL, PayloadError, decode, tag, value_of
from comfyui_exporter.tracker.observations import Details

UNKNOWN_JOB_TYPE = "unknown"

_MAX_ABSURD_MS = 10**14
"""Past the year 5000: a create_time beyond it is no time."""

_EXACT = 2**53
"""Integers below it are exact in every JSON reader."""


@dataclass(frozen=True, slots=True)
class JobTypeRule:
    """A job whose graph has a node class that matches one of these patterns is of this type."""

    job_type: str
    node_types: tuple[str, ...]


_extra = msgspec.json.Decoder(dict[str, msgspec.Raw])


class SubmissionReader:
    """Takes from a submission the few things that we know; the rest may hold credentials and is never kept."""

    def __init__(self, rules: Sequence[JobTypeRule] = (), job_labels: Sequence[str] = ()) -> None:
        self._rules = tuple(rules)
        self._job_labels = tuple(job_labels)
        self._graphs = GraphReader()

    def read(self, extra_data: msgspec.Raw, graph: msgspec.Raw, requested: msgspec.Raw = NULL) -> Details:
        """Read the details of one submission; what is absent or of the wrong type is taken as not given.

        `requested` are the ids of the output nodes to execute.
        """
        try:
            tags = decode(_extra, extra_data)
        except PayloadError:
            tags = {}  # null and lists are accepted by ComfyUI (recording `extra_data_list`)
        created = value_of(tags.get("create_time"))
        nodes = needed_nodes(graph, requested)
        read = self._graphs.read(nodes)
        return Details(
            job_id=_job_id(value_of(tags.get("job_id"))),
            job_type=tag(value_of(tags.get("job_type"))) or self._type_of(graph),
            batch_id=tag(value_of(tags.get("batch_id"))) or None,
            created_ms=int(created) if _is_time(created) else None,
            labels=tuple(tag(value_of(tags.get(name))) for name in self._job_labels),
            graph=read,
            features=None if read is None else features_of(nodes, read.shape),
        )

    def _type_of(self, graph: msgspec.Raw) -> str:
        if not self._rules:
            return UNKNOWN_JOB_TYPE
        classes = class_types(graph)
        for rule in self._rules:
            if any(fnmatchcase(name, pattern) for pattern in rule.node_types for name in classes):
                return rule.job_type
        return UNKNOWN_JOB_TYPE


def _job_id(value: object) -> int | str | None:
    given = tag(value)
    # People compare it with what they gave, so a number stays one, unless it is beyond what JSON readers take.
    return value if isinstance(value, int) and given and abs(value) < _EXACT else given or None


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _MAX_ABSURD_MS
