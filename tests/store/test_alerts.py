"""Alerts in both databases."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import text

from comfyui_exporter.alerts.alert import Alert
from store.exporter import Time

DOWN = Alert(
    {"alertname": "ComfyUIDown", "server": "gpu0"},
    {"summary": "it's down; \N{SNOWMAN}"},
    firing=True,
    starts_at=datetime(2026, 1, 1, 12, tzinfo=UTC),
    fingerprint="00ff",
    generator_url="http://prometheus:9090/graph",
)
SLOW = Alert({"alertname": "ComfyUISlowGeneration"}, {}, firing=True)


def alerts_of(exporter, time):
    return exporter.monitor.keeper.alerts(time.wall, time.stamp)


async def test_what_fires_is_read_back_as_it_was_and_when_it_was_heard_of(url, exporters):
    before, after = Time(), Time(ahead=5.0)
    first = await exporters(url)
    stored = alerts_of(first, before)
    stored.keep(SLOW, before.now())
    before.unix += 10
    stored.keep(DOWN, before.now() - 20)
    stored.keep(DOWN, before.now())
    await first.commit()
    await first.crash()
    heard = await alerts_of(await exporters(url), after).restored()
    assert heard == [(SLOW, after.stamp(before.unix - 10)), (DOWN, after.stamp(before.unix))]


async def test_what_is_over_is_not_kept(url, exporters):
    time, first = Time(), await exporters(url)
    stored = alerts_of(first, time)
    stored.keep(DOWN, time.now())
    stored.keep(SLOW, time.now())
    await first.commit()
    stored.keep(DOWN.unheard(), time.now())
    await first.commit()
    await first.crash()
    assert [alert for alert, _ in await alerts_of(await exporters(url), time).restored()] == [SLOW]


async def test_a_store_that_cannot_be_read_costs_only_the_alerts_of_before(url, exporters, caplog):
    time, first = Time(), await exporters(url)
    stored = alerts_of(first, time)
    await first.monitor.keeper.database.run(text("DROP TABLE comfyui_alerts"))
    assert await stored.restored() == []
    assert caplog.records[-1].message.startswith("the alerts of before cannot be read: ")


async def test_an_alert_that_a_later_version_does_not_take_is_dropped(url, exporters):
    time, first = Time(), await exporters(url)
    first.log.alert("odd", {"alert_id": "odd", "body": '{"status":"firing","labels":{}}', "heard_at": 1.0})
    first.log.alert("odder", {"alert_id": "odder", "body": "[", "heard_at": 1.0})
    alerts_of(first, time).keep(DOWN, time.now())
    await first.commit()
    assert [alert for alert, _ in await alerts_of(first, time).restored()] == [DOWN]
    await first.commit()
    assert len(await first.database.rows(text("SELECT * FROM comfyui_alerts"))) == 1
