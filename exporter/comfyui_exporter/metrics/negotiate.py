"""What a scrape accepts: the text format or OpenMetrics, and whether compressed.

prometheus_client has `choose_encoder` and `gzip_accepted` for this. We do not use them: they know no q-values
(`gzip;q=0` gets gzip), and `choose_encoder` promises whatever version is asked for (text 1.0.0, OpenMetrics 2.0.0),
while the store renders exactly text 0.0.4 and OpenMetrics 1.0.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE_OPENMETRICS_1_0_0

_OPENMETRICS = "application/openmetrics-text"
_TEXT = frozenset({"text/plain", "text/*", "*/*"})


def choose_format(accept: str | None) -> tuple[bool, str]:
    """Whether to answer with OpenMetrics, and the Content-Type of the answer.

    OpenMetrics is for those who name it, in version 1.0.0 or in none, and like it no less than the text format. All
    others get the text format, even if they accept neither: a scrape that can be read is better than a 406.
    """
    openmetrics = text = 0.0
    for name, parameters, quality in _elements(accept or ""):
        if name == _OPENMETRICS and parameters.get("version", "1.0.0") == "1.0.0":
            openmetrics = max(openmetrics, quality)
        elif name in _TEXT:
            text = max(text, quality)
    if openmetrics > 0 and openmetrics >= text:
        return True, CONTENT_TYPE_OPENMETRICS_1_0_0
    return False, CONTENT_TYPE_PLAIN_0_0_4


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Whether the answer may be compressed with gzip."""
    qualities = {name: quality for name, _, quality in _elements(accept_encoding or "")}
    return qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0))) > 0


def _elements(header: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """The elements of a header like Accept: name, parameters, quality. An unreadable quality counts as 0."""
    for element in header.split(","):
        name, *rest = (part.strip() for part in element.split(";"))
        if not name:
            continue
        parameters = {}
        for part in rest:
            key, _, value = part.partition("=")
            parameters[key.strip().lower()] = value.strip().strip('"')
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 0.0
        yield name.lower(), parameters, quality if 0 <= quality <= 1 else 0.0
