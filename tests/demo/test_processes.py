"""Real demos: what can be seen a moment after the start, and that nothing is left at the end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import urllib.request

from alertmanager.programs import alertmanager
from comfyui_exporter.demo.day import SERVERS
from demo.demo_process import demo
from prometheus_server import prometheus_program


def listens(url):
    with socket.socket() as client:
        host, _, port = url.partition("://")[2].strip("/").rpartition(":")
        return client.connect_ex((host, int(port.partition("/")[0]))) == 0


def test_jobs_progress_and_end_soon_after_the_start_and_sigterm_ends_all_of_it(tmp_path):
    with demo(
        tmp_path, environment={"COMFYUI_URL": "http://127.0.0.1:1", "COMFYUI_EXPORTER_CONFIG_FILE": "none"}
    ) as run:
        run.read_block()
        assert list(run.urls) == ["Live page", "Metrics", "Push", *SERVERS]
        page = run.urls["Live page"]
        assert run.get(f"{page}api/v1/servers")["items"]

        def jobs(status):
            return run.get(f"{page}api/v1/jobs?status={status}")["items"]

        assert run.until(lambda: [job for job in jobs("processing") if job["progress_percent"] > 0])
        assert run.until(lambda: jobs("completed"))
        with urllib.request.urlopen(run.urls["Metrics"]) as response:
            metrics = response.read().decode()
        for name in SERVERS:
            assert f'comfyui_up{{server="{name}"}} 1' in metrics
        with urllib.request.urlopen(page) as response:
            assert b"ComfyUI" in response.read()
        assert len(run.processes()) == 3
        assert run.end(signal.SIGTERM) == 0
        assert not any(listens(url) for url in run.urls.values())
        assert run.process.stderr.read() == ""


def test_it_ends_when_one_of_its_programs_does_and_says_so(tmp_path):
    with demo(tmp_path) as run:
        run.read_block()
        (exporter,) = (number for number, command in run.processes().items() if "comfyui_exporter run" in command)
        os.kill(exporter, signal.SIGKILL)
        assert run.process.wait(30) == 1
        assert run.process.stderr.read() == "exporter has ended (-9)\n"
        run.until(lambda: not run.processes() and not run.files())


def test_with_the_stack_alerts_reach_alertmanager_and_the_inbox_and_kill_leaves_nothing_of_all_that(tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "prometheus").symlink_to(shutil.which(prometheus_program()))
    (programs / "prometheus-alertmanager").symlink_to(alertmanager())
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with demo(temporary, "--with-stack", environment={"PATH": str(programs)}) as run:
        run.read_block()
        assert list(run.urls) == ["Live page", "Metrics", "Push", "Prometheus", "Alertmanager", *SERVERS]
        assert "Not found, and so not started: Grafana." in run.block
        prometheus = run.urls["Prometheus"].removesuffix("alerts")
        alerts = run.urls["Alertmanager"]
        run.until(lambda: run.get(f"{alerts}api/v2/status"))
        post(f"{alerts}api/v2/alerts", b'[{"labels": {"alertname": "Drill", "severity": "warning"}}]')

        def scraped():
            answer = run.get(f"{prometheus}api/v1/query?query=up")
            results = answer["data"]["result"] if answer else []
            return {result["metric"]["job"]: result["value"][1] for result in results}

        run.until(lambda: scraped() == {"comfyui": "1", "prometheus": "1", "alertmanager": "1"})

        def receivers():
            known = run.get(f"{alerts}api/v2/alerts")
            return {alert["labels"]["alertname"]: [to["name"] for to in alert["receivers"]] for alert in known}

        run.until(lambda: "Watchdog" in receivers())
        assert receivers()["Watchdog"] == ["watchdog"]
        inbox = run.until(lambda: run.get(f"{run.urls['Live page']}api/v1/alerts")["items"])
        assert "Drill" in [alert["labels"]["alertname"] for alert in inbox]
        assert len(run.processes()) == 5
        assert run.end(signal.SIGKILL) == -signal.SIGKILL


def post(url, body):
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        assert response.status == 200
