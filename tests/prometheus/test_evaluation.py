"""A real Prometheus evaluates every rule on what the exporter serves, without an error."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from comfyui_exporter.failures import FailureClassifier
from comfyui_exporter.metrics.sink import MetricSink
from comfyui_exporter.metrics.store import MetricStore
from metrics.reading import filled
from prometheus.shipped import ALL, RECORDS, RULE_FILES
from prometheus_server import PrometheusServer


def exposition() -> bytes:
    """Two servers with a series of every family, and all that stands at 0 from the start."""
    store = MetricStore(job_labels=["project"])
    sink = MetricSink(store, lambda at: at, FailureClassifier().ids, ["image", "video"])
    sink.add_server("gpu0")
    sink.add_server('a "hostile" \\ name')
    return b"".join(filled(store).render(openmetrics=False))


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    """An exporter that shows always the same."""
    body = exposition()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def has_a_value(name: str, file: str) -> bool:
    """What divides by nothing that happened has none, nor what takes hours, and dcgm-exporter is not there."""
    return "ratio" not in name and file not in {"comfyui-gpu.yml", "comfyui-slo.yml"}


def test_every_rule_is_evaluated_without_an_error(target):
    with PrometheusServer([target], interval_ms=500, rule_files=RULE_FILES) as prometheus:
        for name in sorted({rule.name for rule in RECORDS if has_a_value(rule.name, rule.file)}):
            prometheus.wait_for(name)
        evaluated = prometheus.rules()
        assert len(evaluated) == len(ALL)
        assert [(rule["name"], rule.get("lastError")) for rule in evaluated if rule["health"] != "ok"] == []
        assert prometheus.has('ALERTS{alertname="Watchdog"}')
        assert not prometheus.has('ALERTS{alertname="ComfyUIRulesBroken"}')
