"""A scrape gets the format that it asks for."""

from __future__ import annotations

import pytest

from comfyui_exporter.metrics.negotiate import accepts_gzip, choose_format

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_2_55 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
PROMETHEUS_WITH_PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6," + PROMETHEUS_3
)
PROMETHEUS_TEXT_FIRST = "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.2"


@pytest.mark.parametrize(
    "accept",
    [
        PROMETHEUS_2_42,
        PROMETHEUS_2_55,
        PROMETHEUS_3,
        PROMETHEUS_WITH_PROTOBUF,
        "application/openmetrics-text",
        'Application/OpenMetrics-Text; Version="1.0.0"; q=0.5',
        "application/openmetrics-text, text/plain",
    ],
)
def test_who_prefers_openmetrics_gets_it(accept):
    assert choose_format(accept) == (True, OPENMETRICS)


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "*/*",
        "text/plain",
        "text/plain;version=0.0.4",
        BROWSER,
        PROMETHEUS_TEXT_FIRST,
        "application/openmetrics-text;q=0",
        "application/openmetrics-text;version=0.0.1",
        "application/openmetrics-text;version=2.0.0",
        "application/json",
        "application/openmetrics-text;q=high",
        "application/openmetrics-text;q=nan",
        "application/openmetrics-text;q=7",
        ";;,,;q=1,=",
    ],
)
def test_everyone_else_gets_the_text_format(accept):
    assert choose_format(accept) == (False, TEXT)


@pytest.mark.parametrize(
    "encoding", ["gzip", "GZIP", "x-gzip", "deflate, gzip;q=0.5", "*", "br, gzip, zstd", "gzip;q=1.0"]
)
def test_who_takes_gzip_may_get_it(encoding):
    assert accepts_gzip(encoding)


@pytest.mark.parametrize("encoding", [None, "", "identity", "deflate", "gzip;q=0", "*;q=0", "gzip;q=0, *", "not-gzip"])
def test_who_does_not_take_gzip_gets_none(encoding):
    assert not accepts_gzip(encoding)
