"""Every query has data once a demo has run for a while, with failures and a restart in it."""

from __future__ import annotations

import time

from grafana.answers import asked, unanswered
from grafana.boards import CHOSEN
from grafana.demo import demo

LONGEST = 80.0
"""Seconds until everything has shown itself, or the test fails; it takes about a fifth of that."""
MINUTES_ONLY = ("server:comfyui_slo_budget_used:ratio3d", "server:comfyui_slo_bad_jobs:ratio6h")
"""Rules over steps of five minutes: bench/dashboards.py waits for them."""


def test_every_panel_and_variable_has_data_in_a_demo_with_failures_and_a_restart():
    queries = [query for query in asked() if not any(rule in query.expression for rule in MINUTES_ONLY)]
    with demo(interval_ms=1000, speed=20, rate=90, failure_rate=0.3) as running:
        running.prometheus.wait_for('sum(increase(comfyui_jobs_total{server="gpu0",status="completed"}[30s])) > 3')
        running.crash(down_seconds=3)
        started = time.monotonic()
        missing = queries
        while missing and time.monotonic() < started + LONGEST:
            time.sleep(1)
            # What has been seen once is there: batches and the like come and go.
            missing = unanswered(running.prometheus.url, missing, CHOSEN, seconds=120)
        assert missing == [], "\n".join(f"{query}\n    {query.expression}" for query in missing)
