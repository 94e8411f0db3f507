"""The fuzz of bench/fuzz.py, cut short: the same inputs in each run, some thousand of the million."""

from __future__ import annotations

from random import Random

import pytest

from hostile import files
from hostile.api import Requests
from hostile.pushing import Pushing
from hostile.stand import Stand
from hostile.watching import Watching

SEED = 20
"""With it the shortened run has answers that are no HTTP, tags past every limit, and bombs of aliases."""


def fine(tally):
    assert [(crash.what, crash.input) for crash in tally.crashes] == []
    assert tally.counted == tally.fed


async def test_whatever_a_comfyui_answers_and_sends_is_counted_bounded_and_leaves_a_scrape_readable():
    watching = Watching(SEED, look_every=1_000)
    await watching.run(1_200, 1_500)
    fine(watching.bodies)
    fine(watching.frames)
    assert set(watching.comfyui.routes) == {
        "/prompt", "/queue", "/history", "/history/{id}", "/system_stats", "/api/jobs", "/api/jobs/{id}",
    }  # fmt: skip
    assert {"ok", "payload", "http", "connection"} <= set(watching.bodies.outcomes)
    assert {"malformed", "binary", "accepted as valid"} == set(watching.frames.outcomes)
    assert watching.most["heard prompts"] <= 64
    assert watching.most["reported problems"] <= 100
    assert watching.most["finished runs"] <= 500


@pytest.fixture
async def stand():
    stand = Stand("http://127.0.0.1:1", Random(SEED))
    await stand.start()
    yield stand
    await stand.stop()


async def test_whatever_a_push_client_says_is_answered_refused_or_ends_its_socket(stand):
    pushing = Pushing(stand.push.hub, SEED)
    await pushing.run(1_500)
    fine(pushing.tally)
    assert {"accepted as valid", "refused", "closed"} <= set(pushing.tally.outcomes)
    assert stand.push.hub.clients == 0


async def test_whatever_is_asked_of_the_exporter_has_an_answer_that_is_no_defect(stand):
    host, port = await stand.web.listen("127.0.0.1", 0)
    requests = Requests(host, port, SEED)
    await requests.run(700)
    fine(requests.tally)
    assert {"accepted as valid", "refused with a 4xx"} <= set(requests.tally.outcomes)
    assert stand.exposition_problems() == []
    assert stand.answer_problems() == []


@pytest.mark.parametrize("read", [files.configs, files.web_configs, files.server_files])
def test_whatever_stands_in_a_file_is_accepted_or_a_list_of_problems(read, tmp_path):
    tally = read(250, Random(SEED), tmp_path)
    fine(tally)
    assert set(tally.outcomes) == {files.ACCEPTED, files.REFUSED}


def test_the_same_seed_makes_the_same_inputs():
    one, same, other = (Requests("", 0, seed) for seed in (SEED, SEED, SEED + 1))
    drawn = [one.request() for _ in range(20)]
    assert drawn == [same.request() for _ in range(20)]
    assert drawn != [other.request() for _ in range(20)]
