"""Each figure that the pages boast of is the one that was measured last."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from docs.pages import ROOT


def result(name: str) -> Any:
    return json.loads((ROOT / f"bench/results/{name}.json").read_text())


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"


def figures() -> list[tuple[str, str]]:
    """Give a page, and what has to stand there."""
    watching, latency, eta, chaos = (result(name) for name in ("watching", "latency", "eta", "chaos"))
    claim = watching["claims"][0]
    read = f"{claim['read_bytes_per_minute'] / 1e6:.2f} MB a minute"
    naive = watching["states"][0]["naive"]
    push, polled = latency["push"], latency["history every 2 s"]
    jobs = sum(run["jobs"] for run in chaos)
    found = [
        ("README.md", read),
        ("README.md", f"{naive['bytes_per_minute'] / 1e6:,.0f} MB"),
        ("README.md", f"[{push['p50_ms']:.0f} ms]"),
        ("README.md", f"[{jobs:,} jobs with {sum(run['kills'] for run in chaos)} kills]"),
        ("docs/migration.md", read),
        ("docs/migration.md", f"{naive['bytes_per_read'] / 1e6:.0f} MB"),
        ("docs/migration.md", f"{naive['simulator_cpu_extra_percent']:.0f} % of a core"),
        (
            "docs/migration.md",
            f"{polled['p50_ms'] / 1000:.1f} s late in the middle, {polled['max_ms'] / 1000:.0f} s at worst",
        ),
        ("docs/migration.md", f"{push['p50_ms']:.0f} ms in the middle"),
        ("docs/operations.md", read),
    ]
    for log in eta["logs"]:
        simple, ours = log["scores"]
        found += [
            ("docs/eta.md", f"{seconds(ours['median_error'])} ({percent(ours['median_relative'])})"),
            ("docs/eta.md", f"{seconds(simple['median_error'])} ({percent(simple['median_relative'])})"),
            ("docs/eta.md", seconds(ours["mean_error"])),
            ("docs/eta.md", seconds(simple["mean_error"])),
            ("docs/eta.md", percent(ours["covered"])),
            ("docs/eta.md", f"{ours['jobs']} jobs"),
        ]
    simple, ours = eta["logs"][0]["scores"]
    found += [
        ("README.md", f"[{100 * ours['median_relative']:.0f} %]"),
        ("README.md", f"{100 * simple['median_relative']:.0f} %"),
    ]
    return found


SIZES = (
    (r"asked every 2 s \| ([\d.]+) % \| (\d+) MB; (\d+) MB at the first look \|", "one server"),
    (r"asked every second \| (\d+) % \| (\d+) MB \|", "a hundred"),
    (r"\| (\d+) % idle, (\d+) % with a tenth of them at work \| (\d+) MB; (\d+) MB at most \|", "a thousand"),
    (r"to each \| (\d+) % \| (\d+) KiB for each \|", "push"),
    (r"about (\d+) series for each server", "series"),
    (r"1,000 servers in one scrape are (\d+) MB of text", "scrape"),
)
"""What docs/operations.md says of sizes, and what it was measured for."""


def sizes() -> dict[str, tuple[float, ...]]:
    """Give the numbers of each row of the table of sizes."""
    one = result("watching")["states"][0]["situations"][0]
    hundred = result("isolation")["all_well"]
    thousand = next(size for size in result("fleet")["sizes"] if size["servers"] == 1000)
    hub = result("push")["results"][0]
    return {
        "one server": (one["exporter_cpu_percent"], one["exporter_rss_mb"], one["exporter_peak_rss_mb"]),
        "a hundred": (hundred["cpu_percent"], hundred["rss_mb"]),
        "a thousand": (
            thousand["idle"]["cpu_percent"],
            thousand["working"]["cpu_percent"],
            thousand["rss_mb"],
            thousand["peak_rss_mb"],
        ),
        "push": (hub["loads"][0]["service_cpu_percent"], hub["kib_per_client"]),
        "series": (thousand["scrape_all"]["series"] / 1000,),
        "scrape": (thousand["scrape_all"]["megabytes"],),
    }


@pytest.mark.parametrize(("pattern", "what"), SIZES, ids=[what for _, what in SIZES])
def test_sizes_are_about_as_they_were_measured(pattern, what):
    text = " ".join((ROOT / "docs/operations.md").read_text().split())
    found = re.search(pattern, text)
    assert found, f"docs/operations.md says nothing of {what}"
    # Nobody buys a machine by a tenth more or less, and no two measurements are the same.
    assert [float(number) for number in found.groups()] == pytest.approx(sizes()[what], rel=0.2)


@pytest.mark.parametrize(("page", "figure"), figures())
def test_a_figure_is_the_one_that_was_measured(page, figure):
    text = " ".join((ROOT / page).read_text().split())
    assert figure in text, f"{page} does not say {figure!r}, which bench/results has now"


def test_no_job_was_lost_or_counted_twice_where_the_readme_says_so():
    assert all(run["lost"] == run["double"] == run["falls"] == 0 for run in result("chaos"))
