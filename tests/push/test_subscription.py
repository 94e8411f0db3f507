"""Who is told of what: matching, and finding those whom it concerns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.jobs.update import BatchUpdate, ServerUpdate
from comfyui_exporter.push.audience import Audience
from comfyui_exporter.push.messages import alert_frame, batch_frame, job_frame, removed_frame, server_frame
from comfyui_exporter.push.state import State
from comfyui_exporter.push.subscription import EVERYTHING, Subscription, subscription
from push.making import update

JOB = job_frame(update("r", job_id=1, comfyui_prompt_id="p", batch_id="b", server="s"))
BARE = job_frame(update("r2", "queued"))
BATCH = batch_frame(BatchUpdate("b", 1, {}, 0.0))
SERVER = server_frame(ServerUpdate("s", up=None, running=None, pending=None, drain_seconds=None))
ALERT = alert_frame({"labels": {"alertname": "X", "server": "s"}})
PLAIN = alert_frame({"labels": {"alertname": "X"}})
ALL = [JOB, BARE, BATCH, SERVER, ALERT, PLAIN]


@pytest.mark.parametrize(
    ("given_lists", "wanted"),
    [
        ({}, ALL),
        ({"job_ids": [1]}, [JOB]),
        ({"job_ids": ["1", 7]}, [JOB]),
        ({"job_ids": [2]}, []),
        ({"job_ids": []}, []),
        ({"prompt_ids": ["p"]}, [JOB]),
        ({"batch_ids": ["b"]}, [JOB, BATCH]),
        ({"batch_ids": ["c"]}, []),
        ({"servers": ["s"]}, [JOB, BATCH, SERVER, ALERT]),
        ({"servers": ["t"]}, [BATCH]),
        ({"statuses": ["queued"]}, [BARE]),
        ({"batch_ids": ["b"], "servers": ["s"]}, [JOB, BATCH]),
        ({"batch_ids": ["b"], "servers": ["t"]}, [BATCH]),
        ({"batch_ids": ["b"], "statuses": ["processing"]}, [JOB]),
        ({"job_ids": [1], "prompt_ids": ["q"]}, []),
    ],
)
def test_every_list_that_is_given_must_match(given_lists, wanted):
    wanting = subscription(**given_lists)
    assert [news for news in ALL if wanting.wants(news)] == wanted
    assert wanting.wants(removed_frame(JOB)) == (JOB in wanted)


def test_confined_to_a_job_it_wants_nothing_else():
    assert [news for news in ALL if EVERYTHING.confined_to("p").wants(news)] == [JOB]
    assert [news for news in ALL if subscription(prompt_ids=["q"]).confined_to("p").wants(news)] == []
    assert [news for news in ALL if subscription(batch_ids=["b"]).confined_to("p").wants(news)] == [JOB]


def test_equal_subscriptions_are_one():
    assert subscription(job_ids=[1, "2"]) == subscription(job_ids=["2", 1, 1])


def test_a_list_can_be_too_long_and_a_status_unknown():
    with pytest.raises(ValueError, match="servers has 1001 values"):
        subscription(servers=["s"] * 1001)
    with pytest.raises(ValueError, match="no status 'done'"):
        subscription(statuses=["completed", "done"])


ids = st.one_of(st.none(), st.frozensets(st.sampled_from("abc"), max_size=2))
subscriptions = st.builds(Subscription, job_ids=ids, prompt_ids=ids, batch_ids=ids, servers=ids)
one = st.sampled_from("abc")
maybe = st.one_of(st.none(), one)
jobs = st.builds(
    lambda run, job, prompt, batch, server: job_frame(
        update(run, job_id=job, comfyui_prompt_id=prompt, batch_id=batch, server=server)
    ),
    st.uuids().map(str),
    maybe,
    one,
    maybe,
    maybe,
)


@given(st.lists(subscriptions, max_size=8), st.lists(jobs, max_size=8))
def test_those_who_are_found_are_those_who_match(wanted, told):
    audience: Audience[int] = Audience()
    groups = {}
    for client, each in enumerate(wanted):
        group = groups[client] = audience.group(each)
        group.clients.add(client)
    for news in [*told, *map(removed_frame, told), BATCH, SERVER, ALERT, PLAIN]:
        found = [group.wanted for group in audience.concerned(news)]
        assert len(found) == len(set(found))
        assert set(found) == {each for each in wanted if each.wants(news)}
    for client, group in groups.items():
        audience.leave(client, group)
    assert not any((audience._groups, audience._by_prompt, audience._by_job, audience._by_batch, audience._wide))


@given(st.lists(jobs, max_size=8), subscriptions, st.data())
def test_a_snapshot_has_what_matches_and_is_there_whatever_changed_before(told, wanted, data):
    state = State()
    state.put(BATCH)
    state.put(SERVER)
    for job in told:
        state.put_job(job)
        state.snapshot(EVERYTHING)
        if data.draw(st.booleans()):
            # Its registration comes late: the same run under another job and batch.
            state.put_job(job_frame(update(job.run_id, comfyui_prompt_id=job.prompt_id, job_id="c", batch_id="a")))
        if data.draw(st.booleans()):
            state.remove_job(job.run_id)
    expected = {news for news in [BATCH, SERVER, *state.jobs.values()] if wanted.wants(news)}
    snapshot = [news for news in state.snapshot(wanted) if news is not None]
    assert len(snapshot) == len(set(snapshot))
    assert set(snapshot) == expected
    for job in list(state.jobs.values()):
        state.remove_job(job.run_id)
    assert not any((state._by_prompt, state._by_job, state._by_batch))
