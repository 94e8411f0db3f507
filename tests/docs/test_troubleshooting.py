"""Whoever sees something go wrong finds it on a page: symptoms, and whatever the live page and jobs say."""

from __future__ import annotations

import re

import pytest

from comfyui_exporter.jobs import describe
from docs.pages import ROOT, anchors

PAGE = (ROOT / "docs/troubleshooting.md").read_text()
BOTH = PAGE + (ROOT / "docs/live-page.md").read_text()
SOURCE = (ROOT / "exporter/comfyui_exporter/jobs/describe.py").read_text()
SCRIPT = (ROOT / "exporter/comfyui_exporter/web/page/page.js").read_text()
PLACES = (
    ("#refused(why", "#readMemory"),
    ("#drawConnection() {", "#drawSummary"),
    ("#drawServers(", "#drawBatches"),
)
"""Where the script of the page has words for when something is wrong, or nothing is there."""
CONTINUED = "Give the exporter --web.external-url with this address"
"""The second sentence of a message."""
SYMPTOMS = {
    "it-does-not-start",
    "comfyui_up-is-0-but-the-browser-reaches-comfyui",
    "a-job-is-shown-as-timeout",
    "a-push-client-cannot-connect",
    "a-job-makes-no-progress",
    "memory-grows",
    "a-server-is-missing",
    "counters-are-back-at-0",
    "the-live-page-does-not-connect",
    "the-queue-grows-and-nothing-runs",
}


def said_by_the_page() -> list[str]:
    """Give what the page says of its connection and of nothing to show; without what is filled in."""
    found = []
    for begin, end in PLACES:
        body = SCRIPT.partition(f"  {begin}")[2].partition(f"  {end}")[0].partition(f"  async {end}")[0]
        assert body, f"page.js has no {begin}"
        for quoted in re.findall(r'"([A-Z][^"]+ [^"]+)"|`([A-Z][^`]+ [^`]+)`', body):
            text = "".join(quoted)
            found.append(re.split(r"\. | …|,", re.sub(r"(\$\{\w+\})+$", "", text))[0])
    return [said for said in found if said != CONTINUED]


def test_the_page_says_something():
    assert {"Connection lost", "No server is watched."} <= {text.partition("$")[0] for text in said_by_the_page()}


@pytest.mark.parametrize("said", said_by_the_page())
def test_what_the_page_says_is_explained(said):
    shown = r"[\w. ]+".join(re.escape(part.rstrip(".")) for part in re.split(r"\$\{[^}]*\}", said))
    assert re.search(shown, BOTH), f"neither docs/live-page.md nor docs/troubleshooting.md explains {said!r}"


def test_what_a_job_says_is_explained():
    messages = [*describe._MESSAGES.values(), *re.findall(r'"([a-z][^"]+ [^"]+)"', SOURCE)]
    assert len(messages) > 5
    assert [message for message in messages if message not in PAGE] == []


def test_the_symptoms_that_people_have_are_there():
    assert anchors(PAGE) >= SYMPTOMS
