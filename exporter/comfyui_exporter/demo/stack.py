"""Prometheus, Alertmanager and Grafana around the demo's exporter, with the configuration that we ship."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from comfyui_exporter.demo.ports import Place, Wish
from comfyui_exporter.demo.programs import Command

USUAL = {
    "prometheus": Wish("127.0.0.1", 9090),
    "alertmanager": Wish("127.0.0.1", 9093),
    "grafana": Wish("127.0.0.1", 3000),
}
"""Where they listen everywhere else."""

READY = {"prometheus": "/-/ready", "alertmanager": "/-/ready", "grafana": "/api/health"}
"""Answers 200 when it can be used."""

_INTERVAL = "2s"
"""Between scrapes, and between evaluations of rules, where our configuration has 15 s: an hour takes half a minute."""

_REFRESH = "5s"
"""Of dashboards; as short as Grafana allows unless told otherwise."""

_GROUPING = {"group_wait": "2s", "group_interval": "10s", "repeat_interval": "5m"}
"""Sooner than our configuration tells people, who are not to be told the same twice."""

_FAILED_JOB_S = 120
"""How long a failed job is an alert: a day has a dozen of them, and takes less than the usual quarter of an hour."""

_EXPORTER_URL = "http://127.0.0.1:9188"
_GRAFANA_URL = "http://127.0.0.1:3000"
"""As they are written in what we ship."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A program that was found."""

    words: tuple[str, ...]
    home: Path | None = None
    """Grafana's folder of parts."""


def find(environ: Mapping[str, str] = os.environ) -> dict[str, Installed]:
    """Those of the three that are installed; Debian has Alertmanager under a longer name."""
    path = environ.get("PATH", "")
    found = {}
    if prometheus := shutil.which("prometheus", path=path):
        found["prometheus"] = Installed((prometheus,))
    if alertmanager := shutil.which("alertmanager", path=path) or shutil.which("prometheus-alertmanager", path=path):
        found["alertmanager"] = Installed((alertmanager,))
    if grafana := _grafana(path, environ.get("GRAFANA_HOME")):
        found["grafana"] = grafana
    return found


def _grafana(path: str, named: str | None) -> Installed | None:
    if named is not None:
        path = f"{named}/bin{os.pathsep}{path}"
    # The first is the program of today, the second what it was called, and what packages of today still have.
    for name, words in (("grafana", ("server",)), ("grafana-server", ())):
        if program := shutil.which(name, path=path):
            real = Path(program).resolve()
            homes = (Path(named) if named else real.parent.parent, real.parent.parent, Path("/usr/share/grafana"))
            home = next((home for home in homes if (home / "conf/defaults.ini").is_file()), None)
            if home is not None:
                return Installed((program, *words), home)
    return None


def shipped() -> Path | None:
    """The folder with `prometheus`, `alertmanager` and `grafana`: in an installed package, or in a clone around it."""
    package = Path(__file__).parent
    for folder in (package / "stack_files", package.parents[2]):
        if (folder / "prometheus/rules/comfyui-settings.yml").is_file():
            return folder
    return None


@dataclass(frozen=True, slots=True)
class Stack:
    """What is made of the shipped files for these places, in a folder of its own."""

    files: Path
    folder: Path
    exporter: Place
    places: Mapping[str, Place]
    """Of those of the three that are started."""

    def links(self) -> dict[str, str]:
        """For the live page."""
        return {name: f"http://{place.address}" for name, place in self.places.items()}

    def command(self, name: str, installed: Installed) -> Command:
        """Write the configuration of one, and how to start it."""
        folder = self.folder / name
        folder.mkdir()
        make: dict[str, Callable[[Installed, Path, Place], Command]] = {
            "prometheus": self._prometheus,
            "alertmanager": self._alertmanager,
            "grafana": self._grafana,
        }
        return make[name](installed, folder, self.places[name])

    def _prometheus(self, installed: Installed, folder: Path, place: Place) -> Command:
        config = _read(self.files / "prometheus/prometheus.yml")
        config["global"] |= {"scrape_interval": _INTERVAL, "evaluation_interval": _INTERVAL}
        targets = {"comfyui": self.exporter, **self.places}
        # Those that we start. The job of dcgm-exporter would look for it in a network of containers.
        jobs = [job for job in config["scrape_configs"] if job["job_name"] in targets]
        for job in jobs:
            job["static_configs"] = [{"targets": [targets[job["job_name"]].address]}]
        config["scrape_configs"] = jobs
        if "alertmanager" in self.places:
            managers = [{"static_configs": [{"targets": [self.places["alertmanager"].address]}]}]
            config["alerting"]["alertmanagers"] = managers
        else:
            del config["alerting"]
        shutil.copytree(self.files / "prometheus/rules", folder / "rules")
        self._settings(folder / "rules/comfyui-settings.yml")
        file = _write(folder / "prometheus.yml", config)
        return Command(
            "prometheus",
            (
                *installed.words, f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={place.flag}", f"--web.external-url=http://{place.address}",
                "--enable-feature=exemplar-storage", "--log.level=warn",
                # What it says in its first seconds is lost: it does not yet know Alertmanager, and repeats in a minute.
                f"--rules.alert.resend-delay={_INTERVAL}",
            ),
        )  # fmt: skip

    def _settings(self, file: Path) -> None:
        settings = _read(file)
        for rule in settings["groups"][0]["rules"]:
            if rule["record"] == "comfyui:links" and "grafana" in self.places:
                rule["labels"]["grafana"] = f"http://{self.places['grafana'].address}"
            elif rule["record"] == "comfyui:threshold_job_failed_age_seconds":
                rule["expr"] = f"vector({_FAILED_JOB_S})"
        _write(file, settings)

    def _alertmanager(self, installed: Installed, folder: Path, place: Place) -> Command:
        config = _read(self.files / "alertmanager/alertmanager.yml")
        config["route"] |= _GROUPING
        for receiver in config["receivers"]:
            for inbox in receiver.get("webhook_configs", ()):
                inbox["url"] = f"http://{self.exporter.address}/api/v1/alerts"
        shutil.copytree(self.files / "alertmanager/templates", folder / "templates")
        file = _write(folder / "alertmanager.yml", config)
        return Command(
            "alertmanager",
            (
                *installed.words, f"--config.file={file}", f"--storage.path={folder / 'data'}",
                f"--web.listen-address={place.flag}", f"--web.external-url=http://{place.address}",
                "--cluster.listen-address=", "--log.level=warn",
            ),
        )  # fmt: skip

    def _grafana(self, installed: Installed, folder: Path, place: Place) -> Command:
        provisioning, dashboards = folder / "provisioning", folder / "dashboards"
        shutil.copytree(self.files / "grafana/provisioning", provisioning)
        self._datasources(provisioning / "datasources/datasources.yml")
        provider = _read(provisioning / "dashboards/comfyui.yml")
        provider["providers"][0]["options"]["path"] = str(dashboards)
        _write(provisioning / "dashboards/comfyui.yml", provider)
        dashboards.mkdir()
        for file in (self.files / "grafana/dashboards").glob("*.json"):
            dashboard = json.loads(file.read_text().replace(_EXPORTER_URL, f"http://{self.exporter.address}"))
            dashboard |= {"time": {"from": "now-15m", "to": "now"}, "refresh": _REFRESH}
            _write(dashboards / file.name, dashboard)
        assert installed.home is not None  # noqa: S101 - for mypy
        settings: dict[str, dict[str, object]] = {
            "server": {"http_addr": place.host, "http_port": place.port, "root_url": f"http://{place.address}/"},
            "paths": {"data": folder / "data", "logs": folder / "logs", "plugins": folder / "plugins",
                      "provisioning": provisioning},
            "auth_anonymous": {"enabled": "true", "org_role": "Viewer"},
            "users": {"allow_sign_up": "false"},
            "dashboards": {"default_home_dashboard_path": dashboards / "comfyui-overview.json"},
            "analytics": {"reporting_enabled": "false", "check_for_updates": "false",
                          "check_for_plugin_updates": "false"},
            "news": {"news_feed_enabled": "false"},
            "plugins": {"plugin_admin_enabled": "false", "preinstall_disabled": "true"},
            "log": {"mode": "console", "level": "warn"},
        }  # fmt: skip
        variables = {
            f"GF_{section}_{key}".upper(): str(value)
            for section, keys in settings.items()
            for key, value in keys.items()
        }
        words = (
            *installed.words,
            "--homepath",
            str(installed.home),
            "--config",
            str(self.files / "grafana/grafana.ini"),
        )
        return Command("grafana", words, variables)

    def _datasources(self, file: Path) -> None:
        text = file.read_text().replace(_EXPORTER_URL, f"http://{self.exporter.address}")
        config = yaml.safe_load(text)
        # Without an Alertmanager there is none to look at.
        config["datasources"] = [source for source in config["datasources"] if source["type"] in self.places]
        for source in config["datasources"]:
            source["url"] = f"http://{self.places[source['type']].address}"
            if source["type"] == "prometheus":
                source["jsonData"]["timeInterval"] = _INTERVAL
        _write(file, config)


def _read(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


def _write(file: Path, content: Any) -> Path:
    file.write_text(json.dumps(content))  # which is YAML too
    return file
