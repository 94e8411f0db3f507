"""A real Prometheus that is told by /sd to scrape in slices."""

from __future__ import annotations

from collections import Counter

from prometheus_server import PrometheusServer
from test_app import running

NAMES = [f"gpu{number}" for number in range(6)]


def test_each_slice_has_an_up_of_its_own_and_every_series_is_there_once():
    servers = [
        part for port, name in enumerate(NAMES, 1) for part in ("--comfyui.url", f"{name}=http://127.0.0.1:{port}")
    ]
    with running(*servers) as (_, url):
        job = {"honor_labels": True, "http_sd_configs": [{"url": f"{url}/sd?slices=2"}]}
        with PrometheusServer([], job=job) as prometheus:
            prometheus.wait_for("count(up == 1) == 3")
            prometheus.wait_for(f"count(comfyui_restarts_total) == {len(NAMES)}")
            assert sorted(series.labels.get("slice", "self") for series in prometheus.series("up")) == [
                "0/2",
                "1/2",
                "self",
            ]
            restarts = prometheus.series("comfyui_restarts_total")
            assert Counter(series.labels["server"] for series in restarts) == Counter(NAMES)
            assert {series.labels["slice"] for series in restarts} == {"0/2", "1/2"}
            (own,) = prometheus.series("comfyui_exporter_servers")
            assert "slice" not in own.labels
            assert not prometheus.has("count(scrape_samples_scraped == 0) > 0")
