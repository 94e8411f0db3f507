"""Deliveries in the store: what every Outbox promises, and that each is durable exactly with the change it tells of."""

from __future__ import annotations

import asyncio

import pytest

from comfyui_exporter.jobs.update import ProgressStatus
from comfyui_exporter.store.errors import StoreAwayError
from comfyui_exporter.webhooks.hooks import Hook
from comfyui_exporter.webhooks.reader import WebhookReader
from store.exporter import entry
from webhooks.making import NOON, delivery

ONE, OTHER = "http://one:80", "https://other:8443"


@pytest.fixture
async def exporter(url, exporters):
    return await exporters(url)


@pytest.fixture
def outbox(exporter):
    return exporter.monitor.keeper.outbox()


async def numbers(outbox, at=NOON, limit=100, receivers=()):
    await outbox._log.committed()
    return [int(found.delivery_id.removeprefix("msg_")) for found in await outbox.due(at, limit, receivers)]


async def test_due_is_what_time_has_come_for_oldest_first(outbox):
    for number, at in ((1, NOON), (2, NOON + 1), (3, NOON - 1)):
        outbox.add(delivery(number, at=at))
    assert await numbers(outbox) == [3, 1]
    assert await numbers(outbox, NOON + 1) == [3, 1, 2]
    assert await numbers(outbox, limit=1) == [3]
    assert await numbers(outbox, NOON - 2) == []
    assert await outbox.next_due(()) == NOON - 1


async def test_what_waits_for_busy_receivers_is_left_out(outbox):
    outbox.add(delivery(1, "http://one/a"))
    outbox.add(delivery(2, "https://OTHER:8443/b", at=NOON + 5))
    assert await numbers(outbox, NOON + 5, receivers=[ONE]) == [2]
    assert await outbox.next_due([ONE]) == NOON + 5
    assert await numbers(outbox, NOON + 5, receivers=[ONE, OTHER]) == []
    assert await outbox.next_due([ONE, OTHER]) is None


async def test_what_is_delivered_or_buried_is_gone_and_unknown_ids_are_nothing(outbox):
    for number in (1, 2, 3):
        outbox.add(delivery(number))
    await outbox.delivered("msg_1")
    await outbox.buried("msg_3")
    await outbox.delivered("msg_1")
    await outbox.buried("msg_9")
    assert await numbers(outbox) == [2]


async def test_what_is_postponed_keeps_its_attempts(outbox):
    for number in (1, 2):
        outbox.add(delivery(number))
    await outbox.postponed(delivery(1).again(NOON + 10))
    assert await numbers(outbox) == [2]
    found = {each.delivery_id: each for each in await outbox.due(NOON + 10, 9, ())}
    assert {each: found[each].attempts for each in found} == {"msg_1": 1, "msg_2": 0}
    assert found["msg_1"] == delivery(1).again(NOON + 10)


async def test_the_sender_is_woken_when_one_can_be_found_and_not_before(exporter, outbox):
    found = []
    outbox.attend(lambda: found.append(None))
    outbox.add(delivery(1))
    assert not found
    await exporter.commit()
    assert len(found) == 1
    await outbox.delivered("msg_1")
    assert len(found) == 1


async def test_one_that_comes_while_a_commit_is_under_way_wakes_the_sender_with_its_own(exporter, outbox):
    woken, plain = [], exporter.database.write
    outbox.attend(lambda: woken.append(None))

    async def write(batch, **options):
        outbox.add(delivery(2))
        return await plain(batch, **options)

    outbox.add(delivery(1))
    exporter.database.write = write
    await exporter.commit()
    exporter.database.write = plain
    assert len(woken) == 1
    await exporter.commit()
    assert len(woken) == 2
    assert sorted(await numbers(outbox)) == [1, 2]


async def test_a_result_is_noted_only_when_the_store_took_it(exporter, outbox):
    outbox.add(delivery(1))
    await exporter.commit()

    async def away(_batch, **_options):
        message = "away"
        raise StoreAwayError(message)

    plain, exporter.database.write = exporter.database.write, away
    del exporter.log.committed
    noting = asyncio.create_task(outbox.delivered("msg_1"))
    await asyncio.sleep(0)
    assert not await exporter.commit()
    assert not noting.done()
    exporter.database.write = plain
    assert await exporter.commit()
    await noting
    assert await outbox.due(NOON, 9, ()) == []


def tell(exporter):
    """Put a delivery into the outbox for each job that completes."""
    outbox = exporter.monitor.keeper.outbox()
    ids = iter(f"msg_{number}" for number in range(int(exporter.time._ahead), 10**9))
    hook = Hook("http://one/hook", frozenset({ProgressStatus.COMPLETED}))
    WebhookReader([hook], (), outbox, lambda: exporter.time.unix, lambda: next(ids)).attach(exporter.board)
    return outbox


async def test_a_delivery_is_durable_exactly_with_the_job_that_it_tells_of(url, exporters):
    exporter = await exporters(url)
    outbox = tell(exporter)
    exporter.look()
    exporter.ends(entry("a"))
    assert await outbox.due(NOON + 1, 9, ()) == []
    await exporter.crash()

    exporter = await exporter.next(url)
    outbox = tell(exporter)
    assert await outbox.due(NOON + 1_000, 9, ()) == []
    exporter.look()
    exporter.ends(entry("a"))
    await exporter.commit()
    (made,) = await outbox.due(NOON + 1_000, 9, ())
    exporter.ends(entry("b", 1, 5_000))
    await exporter.crash()

    exporter = await exporter.next(url)
    outbox = tell(exporter)
    assert await outbox.due(NOON + 1_000, 9, ()) == [made]
    exporter.ends(entry("a"), entry("b", 1, 5_000))
    await exporter.commit()
    found = await outbox.due(NOON + 1_000, 9, ())
    assert len(found) == 2
    assert found[0] == made
    await exporter.close()
