"""`promtool check metrics` has nothing to say."""

from __future__ import annotations

import shutil
import subprocess

from comfyui_exporter.metrics.process import ProcessMetrics
from comfyui_exporter.metrics.store import MetricStore
from metrics.reading import filled


def findings(exposition: bytes) -> list[str]:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is not in PATH; Debian has it in the package prometheus"
    checked = subprocess.run([promtool, "check", "metrics"], input=exposition, capture_output=True, check=False)
    found = (checked.stdout + checked.stderr).decode().splitlines()
    assert (checked.returncode == 0) is (not found)
    return found


def test_promtool_finds_nothing_in_a_scrape_of_every_family():
    store = MetricStore(job_labels=["project"], self_sources=[ProcessMetrics().render])
    store.add_server("gpu0")
    store.add_server('a "hostile" \\ name')
    assert findings(b"".join(filled(store).render(openmetrics=False))) == []


def test_promtool_would_find_something():
    assert findings(b"# TYPE jobs_total gauge\njobs_total 1\n") != []
