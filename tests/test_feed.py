"""Updates on their way to one reader that takes its time."""

from __future__ import annotations

import asyncio

from comfyui_exporter import feed as feed_module
from comfyui_exporter.feed import Feed
from push.making import update


async def all_of(feed):
    feed.close()
    return [(one.run_id, str(one.status), one.progress_percent) async for one in feed]


async def test_a_slow_reader_sees_every_status_and_the_newest_progress():
    feed = Feed()
    feed.put(update("r1", "queued"))
    for percent in (1.0, 2.0, 3.0):
        feed.put(update("r1", "processing", percent))
    feed.put(update("r1", "completed", 100.0))
    assert await all_of(feed) == [("r1", "queued", 0.0), ("r1", "processing", 3.0), ("r1", "completed", 100.0)]


async def test_it_waits_for_what_comes():
    feed = Feed()
    reading = asyncio.ensure_future(anext(aiter(feed)))
    await asyncio.sleep(0)
    assert not reading.done()
    feed.put(update("r1"))
    assert (await asyncio.wait_for(reading, 5)).run_id == "r1"


async def test_nothing_is_taken_after_it_was_closed():
    feed = Feed()
    feed.close()
    feed.put(update("r1"))
    assert await all_of(feed) == []


async def test_when_too_many_wait_ends_are_the_last_to_go(monkeypatch):
    monkeypatch.setattr(feed_module, "MOST_WAITING", 3)
    feed = Feed()
    feed.put(update("r1", "completed", 100.0))
    for name in ("r2", "r3", "r4", "r5"):
        feed.put(update(name, "processing"))
    assert feed.dropped == 2
    assert [name for name, _, _ in await all_of(feed)] == ["r1", "r4", "r5"]
    ends = Feed()
    for name in ("r1", "r2", "r3", "r4"):
        ends.put(update(name, "failed"))
    assert [name for name, _, _ in await all_of(ends)] == ["r2", "r3", "r4"]
