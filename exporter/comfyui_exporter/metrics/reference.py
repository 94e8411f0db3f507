"""The metrics reference of the documentation, written from the declarations.

`python -m comfyui_exporter.metrics.reference` prints it.
"""

from __future__ import annotations

import sys

from comfyui_exporter.metrics.buckets import DEFAULTS
from comfyui_exporter.metrics.exposition import number
from comfyui_exporter.metrics.families import ALL
from comfyui_exporter.metrics.family import Family

_INTRODUCTION = """\
# Metrics

All metrics of the exporter, in the order of a scrape. This page is generated from the declarations in the code
(`python -m comfyui_exporter.metrics.reference`).

Every metric has `# HELP` and `# TYPE`, base units, and Unix timestamps (never ages) for points in time. A metric that
has no meaning at the moment is absent. The label `server` names the ComfyUI; metrics without it are about the exporter.
`job_labels` stands for the labels configured under that key. `process_*` and `python_*` of the exporter's own process
follow at the end.

Some counters and histograms [outlive the exporter](#what-outlives-the-exporter); the others begin at 0 when it starts.

| Metric | Type | Labels | Meaning | Source |
|---|---|---|---|---|
"""

_BUCKETS = """
## Buckets

Upper bounds of the histograms' buckets unless the configuration says otherwise (`buckets`), besides `+Inf`.

| Key | Metric | Bounds |
|---|---|---|
"""


_LASTING = """
## What outlives the exporter

These go on from where they stood, unless `store.url` is `memory`; a scrape sees them once they are in the
[store](store.md).

"""


def reference() -> str:
    """The page in Markdown."""
    shown = list(ALL)
    lasting = "".join(f"- `{family.name}`\n" for family in shown if family.lasting)
    rows = "".join(map(_row, shown))
    buckets = "".join(
        f"| `{family.buckets}` | `{family.name}` | {', '.join(map(number, DEFAULTS[family.buckets]))} |\n"
        for family in shown
        if family.buckets
    )
    return f"{_INTRODUCTION}{rows}{_LASTING}{lasting}{_BUCKETS}{buckets}"


def _row(family: Family) -> str:
    labels = (*(("server",) if family.per_server else ()), *family.labels)
    shown = [f"`{label}`" for label in labels] + (["job_labels"] if family.job_labels else [])
    return f"| `{family.name}` | {family.kind.value} | {', '.join(shown)} | {family.help} | {family.source} |\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
