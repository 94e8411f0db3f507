"""What every Outbox promises, of the one in memory."""

from __future__ import annotations

import pytest

from comfyui_exporter.webhooks.outbox import MemoryOutbox
from webhooks.making import NOON, delivery

ONE, OTHER = "http://one:80", "https://other:8443"


@pytest.fixture
def dropped():
    return []


@pytest.fixture
def outbox(dropped):
    return MemoryOutbox(lambda: dropped.append(1), most=5)


async def numbers(outbox, at=NOON, limit=100, receivers=()):
    return [int(found.delivery_id.removeprefix("msg_")) for found in await outbox.due(at, limit, receivers)]


async def test_due_is_what_time_has_come_for_oldest_first(outbox):
    for number, at in ((1, NOON), (2, NOON + 1), (3, NOON - 1)):
        outbox.add(delivery(number, at=at))
    assert await numbers(outbox) == [1, 3]
    assert await numbers(outbox, NOON + 1) == [1, 2, 3]
    assert await numbers(outbox, limit=1) == [1]
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
    await outbox.postponed(delivery(9))
    assert await numbers(outbox) == [2]


async def test_what_is_postponed_keeps_its_place_and_its_attempts(outbox):
    for number in (1, 2):
        outbox.add(delivery(number))
    await outbox.postponed(delivery(1).again(NOON + 10))
    assert await numbers(outbox) == [2]
    found = await outbox.due(NOON + 10, 9, ())
    assert [(each.delivery_id, each.attempts) for each in found] == [("msg_1", 1), ("msg_2", 0)]


async def test_each_one_that_comes_wakes_the_sender(outbox):
    woken = []
    outbox.attend(lambda: woken.append(len(outbox)))
    outbox.add(delivery(1))
    outbox.add(delivery(2))
    assert woken == [1, 2]


async def test_too_many_let_the_oldest_go(outbox, dropped):
    for number in range(8):
        outbox.add(delivery(number))
    assert await numbers(outbox) == [3, 4, 5, 6, 7]
    assert len(dropped) == 3


@pytest.mark.parametrize(
    ("url", "receiver"),
    [
        ("http://a/x?token=secret", "http://a:80"),
        ("https://A:8443", "https://a:8443"),
        ("https://[::1]/x", "https://[::1]:443"),
        ("nonsense", "unusable"),
    ],
)
def test_the_receiver_shows_nothing_that_could_be_a_secret(url, receiver):
    assert delivery(url=url).receiver == receiver
