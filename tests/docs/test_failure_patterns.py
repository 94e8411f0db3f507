"""The page tells of every failure pattern, in the order in which they are tried."""

from __future__ import annotations

import re

from comfyui_exporter.failures import FailureClassifier
from docs.pages import ROOT


def test_the_table_of_patterns_has_the_built_in_ones_in_their_order() -> None:
    page = (ROOT / "docs/how-it-watches.md").read_text()
    section = page.partition("\n## Failure patterns\n")[2].partition("\n## ")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == FailureClassifier().ids
