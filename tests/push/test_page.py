"""What docs/push.md says of the protocol is so."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re

from comfyui_exporter.config.relay_flags import RELAY_FLAGS
from comfyui_exporter.push.hub import HEARTBEAT
from comfyui_exporter.push.messages import job_data
from comfyui_exporter.push.rate import CLIENT
from comfyui_exporter.push.subscription import MOST_VALUES
from docs.pages import ROOT, fenced
from push.making import update

PAGE = (ROOT / "docs/push.md").read_text()
FLAT = " ".join(PAGE.split())


async def test_the_example_in_python_follows_a_job_to_its_end(service):
    (example,) = fenced(PAGE, "python")
    program, _, _ = example.replace("ws://127.0.0.1:8329", service.url("")).partition("asyncio.run")
    names = {}
    exec(program, names)
    service.hub.job(update("r", job_id=123, percent=10.0))
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        following = asyncio.create_task(names["follow"](123))
        await service.until(lambda: "10.0" in shown.getvalue())
        service.hub.job(update("r", "completed", 100.0, job_id=123))
        await asyncio.wait_for(following, 10)
    assert shown.getvalue() == "processing 10.0\ncompleted 100.0\n"


def test_the_job_that_it_shows_has_the_fields_of_a_job_in_their_order():
    (shown,) = re.findall(r'    (\{"type":"progress_update".*?\}\})\n', PAGE, re.DOTALL)
    assert list(json.loads(shown)["data"]) == list(job_data(update()))


def test_its_numbers_are_those_of_the_code():
    assert f"{CLIENT.per_second:g} messages a second after the first {CLIENT.burst:g}" in FLAT
    assert f"more than {CLIENT.questions} questions" in FLAT
    assert f"at most {MOST_VALUES:,} values" in FLAT
    assert f"Every {HEARTBEAT:g} s each client is pinged" in FLAT


def test_every_flag_of_a_relay_is_in_its_table():
    for flag in RELAY_FLAGS:
        assert re.search(rf"^\|.*`--{re.escape(flag.name)} {flag.metavar}`", PAGE, re.MULTILINE), flag.name
        assert flag.default.split(" ")[0] in PAGE
