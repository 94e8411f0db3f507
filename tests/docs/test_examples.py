"""What the pages tell people to copy works."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from textwrap import dedent

import pytest

from certificates import own
from comfyui_exporter.config.load import load, parse
from comfyui_exporter.config.web_config import parse_web_config
from docs.pages import NAMES, ROOT, fenced, last_cells

INDENTED_QUERY = re.compile(r"^    (sum by .*)$", re.MULTILINE)
INLINE_QUERY = re.compile(r"`((?:sum|rate|histogram_quantile)\b[^`]*\([^`]*comfyui_[^`]*)`")


def promtool(*arguments: str | Path) -> None:
    program = shutil.which("promtool")
    assert program, "promtool is not in PATH; Debian has it in the package prometheus"
    checked = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def check_queries(queries: list[str], folder: Path) -> None:
    assert queries
    rules = "".join(f"      - record: example:{i}\n        expr: >-\n          {q}\n" for i, q in enumerate(queries))
    file = folder / "rules.yml"
    file.write_text(f"groups:\n  - name: examples\n    rules:\n{rules}")
    promtool("check", "rules", file)


def test_the_example_of_a_prometheus_configuration_is_valid():
    promtool("check", "config", ROOT / "examples/prometheus.yml")


def test_the_example_of_our_own_configuration_is_valid_and_has_job_types() -> None:
    file = ROOT / "examples/comfyui-exporter.yml"
    assert load(str(file)).config.job_types


def test_the_example_of_a_web_config_and_the_pieces_of_the_page_are_valid(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    pair = own(tmp_path / "tls", "exporter")
    shutil.copy(pair.certificate, tmp_path / "tls/ca.pem")
    example = (ROOT / "examples/web-config.yml").read_text()
    page = (ROOT / "docs/security.md").read_text()
    pieces = re.findall(r"(?m)(?:^    .*\n)+", page)
    shown = [dedent(piece) for piece in pieces if piece.startswith(("    tls_server_config", "    basic_auth_users"))]
    assert len(shown) == 3
    for text in (example, re.sub(r"(?m)^( *)# (?=[a-z_]+: )", r"\1", example), *shown):
        protection = parse_web_config(text.encode(), "web.yml", tmp_path)
        assert protection.tls or protection.users


def test_the_scrape_configuration_of_the_readme_is_valid(tmp_path):
    blocks = [block for block in fenced((ROOT / "README.md").read_text(), "yaml") if "scrape_configs" in block]
    assert len(blocks) == 1
    file = tmp_path / "prometheus.yml"
    file.write_text(blocks[0])
    promtool("check", "config", file)


def test_the_example_and_the_readme_scrape_the_default_address():
    for name in ("examples/prometheus.yml", "README.md"):
        assert '- targets: ["127.0.0.1:9188"]' in (ROOT / name).read_text()


def test_each_of_the_ten_queries_to_begin_with_is_promql(tmp_path):
    queries = list(last_cells((ROOT / "docs/queries.md").read_text(), "Metric"))
    assert len(queries) == 10
    check_queries(queries, tmp_path)


@pytest.mark.parametrize("name", ["docs/how-it-watches.md", "docs/troubleshooting.md"])
def test_every_query_of_the_pages_is_promql(name, tmp_path):
    page = (ROOT / name).read_text()
    check_queries([*INDENTED_QUERY.findall(page), *INLINE_QUERY.findall(page)], tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_every_piece_of_configuration_is_valid(name):
    of_others = name == "docs/fleet.md"  # most of its blocks are for other programs: see test_fleet.py
    for block in () if of_others else fenced((ROOT / name).read_text(), "yaml"):
        if "scrape_configs" not in block and "groups:" not in block:  # these are for Prometheus
            parse(block.encode(), name, ROOT)
