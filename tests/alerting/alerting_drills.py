"""Drills of what happens to Prometheus and Alertmanager; they concern all others, so they are held alone."""

from __future__ import annotations

import json
import signal

from alerting.stage import Stage


async def rules_broken(stage: Stage) -> None:
    """A threshold is lost in an edit of the settings."""
    async with stage.place("rules") as place:
        file = stage.prometheus.rules / "comfyui-settings.yml"
        whole = file.read_text()
        broken = json.loads(whole)
        rules = broken["groups"][0]["rules"]
        rules[:] = [rule for rule in rules if rule["record"] != "comfyui:threshold_oom_failures"]
        place.act("take a threshold out of the settings")
        file.write_text(json.dumps(broken))
        stage.prometheus.send(signal.SIGHUP)
        await place.told("ComfyUIRulesBroken", no_job=True, says=("threshold of comfyui-settings.yml",))
        place.undo()
        file.write_text(whole)
        stage.prometheus.send(signal.SIGHUP)
        await place.over("ComfyUIRulesBroken", no_job=True)


async def receiver_fails(stage: Stage) -> None:
    """The receiver answers 500 for a while; what went wrong is told when it takes messages again."""
    async with stage.place("receiver") as place:
        place.job = "alertmanager"
        place.act("the receiver answers 500 until the alert fires")
        stage.notified.deaf = True
        failing = 'ALERTS{alertname="ComfyUINotificationsFailing",alertstate="firing",integration="webhook"}'
        try:
            await _something_to_tell(stage)
            await stage.prometheus.until(failing, 180)
        finally:
            stage.notified.deaf = False
            place.undo()
        await place.told("ComfyUINotificationsFailing", says=("by webhook",))
        await place.over("ComfyUINotificationsFailing", patience=180)


async def alertmanager_dies(stage: Stage) -> None:
    """Alertmanager is killed; what went wrong is told when it is back."""
    async with stage.place("unreachable") as place:
        place.job = "prometheus"
        heard = len(stage.notified.watchdog)
        place.act("kill Alertmanager until the alert fires")
        stage.alertmanager.kill()
        silent_from = len(stage.notified.watchdog)
        firing = 'ALERTS{alertname="ComfyUINotificationsFailing",alertstate="firing",job="prometheus"}'
        await stage.prometheus.until(firing, 180)
        if len(stage.notified.watchdog) > silent_from + 1 or not heard:
            stage.surprises.append("the watchdog was heard while Alertmanager was dead, or never before")
        await stage.alertmanager.start()
        place.undo()
        await place.told("ComfyUINotificationsFailing", says=("could not hand alerts to Alertmanager",))
        await place.over("ComfyUINotificationsFailing", patience=180)


async def _something_to_tell(stage: Stage) -> None:
    """The receiver refuses at least one message: that of a server whose address nobody answers at."""
    async with stage.place("refusal") as place:
        place.comfy.kill()
        await stage.prometheus.until(f'ALERTS{{alertname="ComfyUIDown",alertstate="firing",job="{place.job}"}}')


DRILLS = {"rules": rules_broken, "receiver": receiver_fails, "unreachable": alertmanager_dies}
