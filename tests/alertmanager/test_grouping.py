"""What a real Alertmanager makes of our grouping and inhibition."""

from __future__ import annotations

import asyncio

from alertmanager.programs import PATIENCE, firing, resolved, servers


def of(name, status="firing"):
    return lambda body: body["groupLabels"].get("alertname") == name and body["status"] == status


async def suppressed(alertmanager, count):
    """Name and server of the alerts that it keeps back, once they are so many."""
    async with asyncio.timeout(PATIENCE):
        while True:
            back = [each for each in await alertmanager.alerts() if each["status"]["inhibitedBy"]]
            if len(back) == count:
                return {(each["labels"]["alertname"], each["labels"].get("server")) for each in back}
            await asyncio.sleep(0.02)


async def test_one_message_tells_of_all_servers_with_the_same_trouble(by_default, receiver):
    await by_default.post(
        *(firing("ComfyUIDown", severity="critical", server=f"gpu{number}") for number in range(3)),
        firing("ComfyUIJobStalled", server="gpu9"),
        firing("ComfyUIDown", severity="critical", server="gpu0", job="comfyui-other"),
    )
    down = await receiver.body(lambda body: body["groupLabels"] == {"alertname": "ComfyUIDown", "job": "comfyui"})
    assert servers(down["alerts"]) == ["gpu0", "gpu1", "gpu2"]
    assert down["version"] == "4"
    other = await receiver.body(lambda body: body["groupLabels"].get("job") == "comfyui-other")
    assert servers(other["alerts"]) == ["gpu0"]
    assert servers((await receiver.body(of("ComfyUIJobStalled")))["alerts"]) == ["gpu9"]


async def test_that_it_is_over_is_told(by_default, receiver):
    alert = firing("ComfyUIQueueStuck", server="gpu0")
    await by_default.post(alert)
    began = (await receiver.body(of("ComfyUIQueueStuck")))["alerts"][0]
    await by_default.post(resolved(alert))
    over = (await receiver.body(of("ComfyUIQueueStuck", "resolved")))["alerts"][0]
    assert over["status"] == "resolved"
    assert over["fingerprint"] == began["fingerprint"]
    assert over["startsAt"] == began["startsAt"]


async def test_of_a_server_that_is_down_nothing_else_is_told(by_default, receiver):
    await by_default.post(
        firing("ComfyUIDown", severity="critical", server="127.0.0.1:8188"),
        firing("ComfyUIJobStalled", server="127.0.0.1:8188"),
        firing("ComfyUIJobFailed", severity="info", server="127.0.0.1:8188", prompt_id="p"),
        # Of another server, of the one of that name that another exporter watches, and of the exporter itself.
        firing("ComfyUIJobStalled", server="gpu1"),
        firing("ComfyUIJobStalled", server="127.0.0.1:8188", instance="elsewhere:9188"),
        firing("ComfyUIExporterScrapeSlow"),
    )
    stalled = (await receiver.body(of("ComfyUIJobStalled")))["alerts"]
    assert {(each["labels"]["instance"], each["labels"]["server"]) for each in stalled} == {
        ("exporter:9188", "gpu1"),
        ("elsewhere:9188", "127.0.0.1:8188"),
    }
    assert await receiver.body(of("ComfyUIExporterScrapeSlow"))
    assert await receiver.body(of("ComfyUIDown"))
    back = {("ComfyUIJobStalled", "127.0.0.1:8188"), ("ComfyUIJobFailed", "127.0.0.1:8188")}
    assert await suppressed(by_default, 2) == back


async def test_of_an_exporter_that_is_down_nothing_else_is_told(by_default, receiver):
    await by_default.post(
        firing("ComfyUIExporterDown", severity="critical"),
        firing("ComfyUIDown", severity="critical", server="gpu0"),
        firing("ComfyUIEventStreamDown", server="gpu0"),
        firing("ComfyUIExporterStoreErrors"),
        firing("ComfyUIDown", severity="critical", server="gpu0", instance="elsewhere:9188"),
        {"labels": {"alertname": "ComfyUIRulesBroken", "severity": "warning"}},
    )
    down = (await receiver.body(of("ComfyUIDown")))["alerts"]
    assert [each["labels"]["instance"] for each in down] == ["elsewhere:9188"]
    assert await receiver.body(of("ComfyUIExporterDown"))
    assert await receiver.body(of("ComfyUIRulesBroken"))
    back = {("ComfyUIDown", "gpu0"), ("ComfyUIEventStreamDown", "gpu0"), ("ComfyUIExporterStoreErrors", None)}
    assert await suppressed(by_default, 3) == back


async def test_a_job_without_any_exporter_hides_nothing_of_those_that_are_there(by_default, receiver):
    gone = firing("ComfyUIExporterDown", severity="critical")
    del gone["labels"]["instance"]
    await by_default.post(gone, firing("ComfyUIQueueBacklog", server="gpu0"))
    assert await receiver.body(of("ComfyUIExporterDown"))
    assert await receiver.body(of("ComfyUIQueueBacklog"))


async def test_the_watchdog_tells_nobody(by_default, receiver):
    await by_default.post(
        {"labels": {"alertname": "Watchdog", "severity": "info"}}, firing("ComfyUIQueueBacklog", server="gpu0")
    )
    assert await receiver.body(of("ComfyUIQueueBacklog"))
    (watchdog,) = [each for each in await by_default.alerts() if each["labels"]["alertname"] == "Watchdog"]
    assert [each["name"] for each in watchdog["receivers"]] == ["watchdog"]
    assert {call[2]["groupLabels"]["alertname"] for call in receiver.calls} == {"ComfyUIQueueBacklog"}
