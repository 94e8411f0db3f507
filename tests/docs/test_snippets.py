"""What the pages show besides commands: programs run, messages are JSON, configuration is accepted, and nothing is
left over that no test knows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import yaml
from playwright.sync_api import Page, sync_playwright

from docs.blocks import ALL, Block
from docs.kinds import SHOWN, is_shown, is_typed
from docs.pages import ROOT
from docs.programs import DRIVERS, SYNTAX_ONLY
from docs.world import World
from prometheus.known import faults
from prometheus.shipped import promtool

TESTED = {
    "text": ("docs/", "nobody: it is what programs print, in a moment of their own"),
    "sql": ("docs/store.md", "tests/docs/test_store.py"),
    "yml": ("docs/kubernetes.md", "tests/deploy/test_kubernetes.py"),
    "yaml": ("", "tests/docs/test_examples.py and test_fleet.py; what is for Prometheus, here"),
}
"""Languages of fences, the pages on which they may be, and the tests that know them there."""

MESSAGES = [block for block in ALL if not block.language and block.text.lstrip()[0] in "{["]
PIECES = [
    block
    for block in ALL
    if not block.language and not is_typed(block) and not is_shown(block) and re.match(r"- \w+: |\w+:\n", block.text)
]
OF_PROMETHEUS = [
    block
    for block in ALL
    if block.language == "yaml" and re.search(r"^(scrape_configs|groups|rule_files|global):", block.text, re.MULTILINE)
]
QUERIES = [block for block in ALL if block.language == "promql"]
PROGRAMS = [block for block in ALL if block.language in {"python", "js", "javascript"}]
PYTHON = [block for block in PROGRAMS if block.language == "python"]
SCRIPTS = [block for block in PROGRAMS if block.language != "python"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def test_every_block_is_known_to_a_test() -> None:
    known = [*MESSAGES, *PIECES, *QUERIES, *PROGRAMS]
    for block in ALL:
        if is_typed(block) or is_shown(block) or block in known:
            continue
        pages, _ = TESTED.get(block.language, ("nowhere", ""))
        assert block.page.startswith(pages), f"{block}: no test knows of {block.text.splitlines()[0]!r}"


@pytest.mark.parametrize("page_and_words", SHOWN, ids=": ".join)
def test_what_is_listed_as_only_shown_is_there(page_and_words):
    page, words = page_and_words
    assert any(block.page == page and block.text.startswith(words) for block in ALL)


@pytest.mark.parametrize("block", MESSAGES, ids=str)
def test_messages_are_json_but_for_what_is_left_out(block):
    text = block.text
    for short, whole in {
        r"\{\.\.\.\}": "{}", r"\[\.\.\.\]": "[]", r'"\.\.\."': '""', r",\s*\.\.\.": "", r":\s*\.\.\.": ":null",
        r"\b(\w+-)\.\.\.": r"\1",
    }.items():  # fmt: skip
        text = re.sub(short, whole, text)
    decoder = json.JSONDecoder()
    while text.strip():
        _, end = decoder.raw_decode(text.lstrip())
        text = text.lstrip()[end:]


class Loader(yaml.SafeLoader):
    """One that knows what Compose adds."""


Loader.add_constructor("!override", lambda loader, node: loader.construct_sequence(node))


@pytest.mark.parametrize("block", PIECES, ids=str)
def test_pieces_of_configuration_are_yaml(block):
    assert yaml.load(block.text, Loader)


@pytest.mark.parametrize("block", OF_PROMETHEUS, ids=str)
def test_what_is_for_prometheus_is_accepted_by_it(block, tmp_path):
    file = tmp_path / "file.yml"
    file.write_text(block.text)
    kind = "rules" if block.text.startswith("groups:") else "config"
    done = subprocess.run(["promtool", "check", kind, file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", QUERIES, ids=str)
def test_queries_ask_for_what_there_is(block):
    assert faults(block.text.strip()) == []


def test_prometheus_can_read_the_queries(tmp_path):
    rules = [{"record": f"example:query:{i}", "expr": block.text} for i, block in enumerate(QUERIES)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "examples", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "rules.yml")


def nth(block: Block) -> tuple[str, int]:
    """Name a program by its page and place among the programs of that page."""
    return block.page, [other for other in PROGRAMS if other.page == block.page].index(block)


def test_every_driver_has_its_program():
    assert {*DRIVERS, *SYNTAX_ONLY} == {nth(block) for block in PROGRAMS}


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_programs_in_python_do_what_they_should(block: Block, world: World) -> None:
    driver = DRIVERS[nth(block)]
    done = world.run("python", "-W", "error", "-", text=world.here(f"{block.text}\n{driver.code}"))
    assert done.returncode == 0, done.stderr
    assert re.search(driver.says, done.stdout, re.MULTILINE), done.stdout


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder, and says nothing of it."""

    def log_message(self, *args: object) -> None:
        """Keep still."""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page of this host in a browser, which has the folder of examples."""
    if CHROMIUM is None:
        pytest.fail("there is no Chromium: `make system` installs it")
    handler = partial(Quiet, directory=str(ROOT / "examples"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_playwright() as playwright:
        Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        yield page
        browser.close()
        server.shutdown()


@pytest.mark.parametrize("block", SCRIPTS, ids=str)
def test_programs_in_javascript_do_what_they_should(block: Block, world: World, page: Page) -> None:
    driver = DRIVERS.get(nth(block))
    if driver is None or (driver.node and shutil.which("node") is None):
        assert driver is not None or nth(block) in SYNTAX_ONLY, f"{block}: say how to run it, or why not"
        page.evaluate("code => { new Function(code); }", block.text)
        return
    code = world.here(f"{block.text}\n{driver.code}")
    if driver.node:
        done = world.run("node", "-", text=code)
        assert (done.returncode, bool(re.search(driver.says, done.stdout))) == (0, True), done.stdout + done.stderr
        return
    with page.expect_console_message(lambda message: bool(re.search(driver.says, message.text)), timeout=20_000):
        page.add_script_tag(content=code, type="module")
