"""The page about the metrics says what the declarations say."""

from __future__ import annotations

import subprocess
import sys

from comfyui_exporter.metrics.families import ALL
from comfyui_exporter.metrics.reference import reference


def test_every_family_has_its_row_with_type_labels_meaning_and_source():
    page = reference()
    assert (
        "| `comfyui_jobs_total` | counter | `server`, `job_type`, `status`, job_labels "
        "| Finished jobs by how they ended. | GET /history, GET /queue |\n"
    ) in page
    assert "| `comfyui_exporter_servers` | gauge |  | Servers watched. | exporter |\n" in page
    for family in ALL:
        assert page.count(f"| `{family.name}` | {family.kind.value}") == 1


def test_every_histogram_has_its_buckets():
    assert "| `job_duration` | `comfyui_job_duration_seconds` | 1, 2, 5, 10," in reference()
    assert "| `estimate` | `comfyui_job_estimate_ratio` |" in reference()


def test_what_outlives_the_exporter_is_listed():
    listed = reference().partition("## What outlives the exporter")[2].partition("\n## ")[0]
    assert {f"- `{family.name}`" for family in ALL if family.lasting} == {
        line for line in listed.splitlines() if line.startswith("- ")
    }


def test_no_cell_breaks_the_table():
    for line in reference().splitlines():
        if line.startswith("| `comfyui_"):
            assert line.count("|") == 6


def test_the_module_prints_the_page():
    command = [sys.executable, "-m", "comfyui_exporter.metrics.reference"]
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout == reference()
