"""Series to lines: the Prometheus text format 0.0.4 and OpenMetrics 1.0.0. Pure functions, no state.

The two formats agree in all sample lines but for exemplars, which only OpenMetrics has. They differ in the metadata:
the text format names a counter `x_total`, OpenMetrics names the family `x` and its sample `x_total`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from prometheus_client.utils import floatToGoString

from comfyui_exporter.metrics.family import Family, Kind
from comfyui_exporter.metrics.series import Exemplar, Histogram

EOF = b"# EOF\n"
"""The last line of an OpenMetrics exposition."""

EXEMPLAR_LIMIT = 128
"""OpenMetrics: characters in all names and values of an exemplar's labels."""

_SPECIAL = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}


def number(value: float) -> str:
    """A sample value as both formats write it: the shortest text that reads back as the same float, `5` for 5.0."""
    text = repr(value)
    if text.endswith(".0"):
        return text[:-2]
    return _SPECIAL.get(text, text)


def escape(value: str) -> str:
    """A label value as it stands between its quotes."""
    if "\\" in value:
        value = value.replace("\\", "\\\\")
    if '"' in value:
        value = value.replace('"', '\\"')
    if "\n" in value:
        value = value.replace("\n", "\\n")
    return value


def metadata(family: Family, openmetrics: bool) -> bytes:
    """The HELP and TYPE lines of a family."""
    name, text = family.name, family.help.replace("\\", "\\\\").replace("\n", "\\n")
    if openmetrics:
        # Only OpenMetrics escapes quotes in help texts.
        text = text.replace('"', '\\"')
        if family.kind is Kind.COUNTER:
            name = name.removesuffix("_total")
    return f"# HELP {name} {text}\n# TYPE {name} {family.kind.value}\n".encode()


def scalars(
    name: str,
    labels: Sequence[str],
    server: str | None,
    series: Mapping[tuple[str, ...], float],
    exemplars: Mapping[tuple[str, ...], Exemplar] | None = None,
) -> bytes:
    """The lines of a counter or gauge, one for each series: label values (in the order of `labels`) to its value.

    Exemplars make lines that only OpenMetrics understands.
    """
    pairs = _pairs_template(labels, server)
    template = f"{name}{{{pairs}}} %s%s\n" if pairs else f"{name} %s%s\n"
    found = exemplars or {}
    return _encode(
        template % (*map(escape, values), number(value), _exemplar(found.get(values)))
        for values, value in series.items()
    )


def histograms(
    name: str,
    labels: Sequence[str],
    server: str | None,
    series: Mapping[tuple[str, ...], Histogram],
    bounds: Sequence[float],
    *,
    exemplars: bool = False,
) -> bytes:
    """The lines of a histogram: for each series its buckets, counted up, its sum and its count.

    Exemplars, if asked for, make lines that only OpenMetrics understands.
    """
    pairs = _pairs_template(labels, server)
    # `1.0`, not `1`: OpenMetrics demands it, and Prometheus would take the two formats' buckets for different series.
    edges = [f'le="{floatToGoString(bound)}"}} ' for bound in (*bounds, math.inf)]  # type: ignore[no-untyped-call]
    lines: list[str] = []
    for values, histogram in series.items():
        own = pairs % tuple(map(escape, values))
        braces = f"{{{own}}}" if own else ""
        bucket = f"{name}_bucket{{{own}," if own else f"{name}_bucket{{"
        found = (histogram.exemplars if exemplars else None) or {}
        count = 0
        for index, (edge, count) in enumerate(zip(edges, accumulate(histogram.counts), strict=True)):
            lines.append(f"{bucket}{edge}{count}{_exemplar(found.get(index))}\n")
        lines.append(f"{name}_sum{braces} {number(histogram.sum)}\n{name}_count{braces} {count}\n")
    return _encode(lines)


def _pairs_template(labels: Sequence[str], server: str | None) -> str:
    """`server="...",a="%s",b="%s"`: one `%` fills in the values of a series."""
    pairs = [f'{label}="%s"' for label in labels]
    if server is not None:
        pairs.insert(0, f'server="{escape(server)}"'.replace("%", "%%"))
    return ",".join(pairs)


def _exemplar(exemplar: Exemplar | None) -> str:
    if exemplar is None or sum(len(key) + len(value) for key, value in exemplar.labels.items()) > EXEMPLAR_LIMIT:
        return ""
    pairs = ",".join(f'{key}="{escape(value)}"' for key, value in exemplar.labels.items())
    # Prometheus keeps milliseconds.
    return f" # {{{pairs}}} {number(exemplar.value)} {number(round(exemplar.timestamp, 3))}"


def _encode(lines: Iterable[str]) -> bytes:
    # "replace": a lone surrogate must not cost the whole scrape. The store lets none in.
    return "".join(lines).encode("utf-8", "replace")
