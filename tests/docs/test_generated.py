"""The generated pages are those that the code generates."""

from __future__ import annotations

from comfyui_exporter.config.reference import reference as configuration
from comfyui_exporter.metrics.reference import reference as metrics
from docs.pages import ROOT

STALE = "{} is not what the code says; run `make docs` and commit the result"


def test_the_page_of_metrics_is_up_to_date():
    assert (ROOT / "docs/metrics.md").read_text() == metrics(), STALE.format("docs/metrics.md")


def test_the_page_of_the_configuration_is_up_to_date():
    assert (ROOT / "docs/configuration.md").read_text() == configuration(), STALE.format("docs/configuration.md")
