"""A real Prometheus that scrapes while a test or a bench runs, and tells afterwards every sample that it took."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_PATIENCE = 60.0
"""Seconds in which it starts, or the test fails."""


def prometheus_program() -> str:
    """Where it is: `PROMETHEUS`, else on the PATH. LookupError that says what to install."""
    found = os.environ.get("PROMETHEUS") or shutil.which("prometheus")
    if found is None:
        msg = (
            "no prometheus: install it (Debian: prometheus, 2.42 or newer), or set PROMETHEUS; its service need not run"
        )
        raise LookupError(msg)
    return found


@dataclass(frozen=True, slots=True)
class Series:
    """The samples of one series, oldest first: what rules and dashboards are computed from."""

    labels: dict[str, str]
    samples: tuple[tuple[float, float], ...]
    """Time and value."""

    @property
    def name(self) -> str:
        """The metric."""
        return self.labels["__name__"]

    @property
    def falls(self) -> list[tuple[float, float, float]]:
        """Where a sample is below the one before: its time, the value before, and its own."""
        return [(at, before, value) for (_, before), (at, value) in pairwise(self.samples) if value < before]

    @property
    def increase(self) -> float:
        """What `increase()` makes of all the samples, without extrapolation: after a fall it counts from 0."""
        return sum(value - before if value >= before else value for (_, before), (_, value) in pairwise(self.samples))

    @property
    def first(self) -> float:
        """What no `increase()` can see: the value at which it was met."""
        return self.samples[0][1]

    @property
    def last(self) -> float:
        """The newest value."""
        return self.samples[-1][1]

    def __str__(self) -> str:
        """Write it as in a query."""
        labels = ",".join(
            f'{key}="{value}"' for key, value in self.labels.items() if key not in {"__name__", "job", "instance"}
        )
        return f"{self.name}{{{labels}}}"


class PrometheusServer:
    """Scrapes `targets` (host:port) from `with` until its end; `job` has further keys of the job that does."""

    def __init__(
        self,
        targets: Iterable[str],
        *,
        interval_ms: int = 250,
        metrics_path: str = "/metrics",
        rule_files: Iterable[Path] = (),
        job: Mapping[str, Any] | None = None,
    ) -> None:
        self._targets = list(targets)
        self._interval_ms = interval_ms
        self._metrics_path = metrics_path
        self._rule_files = [str(file) for file in rule_files]
        self._job = dict(job or {})
        self._program = prometheus_program()
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        """Start it, and wait until it is ready."""
        self._folder = Path(tempfile.mkdtemp(prefix="comfyui-exporter-prometheus-"))
        try:
            self._start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it and take everything away."""
        self._remove()

    def _start(self) -> None:
        config = {
            "global": {
                "scrape_interval": f"{self._interval_ms}ms",
                "scrape_timeout": f"{self._interval_ms}ms",
                "evaluation_interval": f"{self._interval_ms}ms",
            },
            "rule_files": self._rule_files,
            "scrape_configs": [
                {
                    "job_name": "comfyui",
                    "metrics_path": self._metrics_path,
                    "static_configs": [{"targets": self._targets}],
                    **self._job,
                }
            ],
        }
        file = self._folder / "prometheus.yml"
        file.write_text(json.dumps(config))  # which is YAML too
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    self._program, f"--config.file={file}", f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
                ],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self._until(lambda: self._get("/-/ready") is not None, "get ready")

    def wait_for(self, query: str) -> None:
        """Wait until a query gives something."""
        self._until(lambda: bool(self._data("query", query=query)), f"have anything for {query}")

    def has(self, query: str) -> bool:
        """Whether a query gives something now."""
        return bool(self._data("query", query=query))

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, with `name`, `health` and `lastError`."""
        answer = json.loads(self._get("/api/v1/rules") or b"{}")
        return [rule for group in answer["data"]["groups"] for rule in group["rules"]]

    def series(self, selector: str, *, window: str = "1d") -> list[Series]:
        """Every raw sample of the series that match."""
        return [
            Series(found["metric"], tuple((at, float(value)) for at, value in found["values"]))
            for found in self._data("query", query=f"{selector}[{window}]")
        ]

    def increases(self, name: str, *labels: str) -> Counter[tuple[str, ...]]:
        """How far a counter rose by these labels, from the samples alone."""
        risen: Counter[tuple[str, ...]] = Counter()
        for series in self.series(name):
            risen[tuple(series.labels[label] for label in labels)] += round(series.increase)
        return risen

    def _data(self, endpoint: str, **parameters: str) -> Any:
        answer = self._get(f"/api/v1/{endpoint}?{urllib.parse.urlencode(parameters)}")
        if answer is None:
            msg = f"Prometheus does not answer:\n{(self._folder / 'log').read_text()}"
            raise RuntimeError(msg)
        return json.loads(answer)["data"]["result"]

    def _get(self, path: str) -> bytes | None:
        try:
            with urllib.request.urlopen(self.url + path, timeout=30) as response:
                body: bytes = response.read()
                return body
        except (urllib.error.URLError, ConnectionError):
            return None

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not holds():
            ended = self._process is not None and self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                msg = f"Prometheus did not {what}:\n{(self._folder / 'log').read_text()}"
                raise RuntimeError(msg)
            time.sleep(0.05)

    def _remove(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
