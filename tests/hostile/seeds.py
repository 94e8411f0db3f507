"""Good inputs to begin with: what a real ComfyUI answered and sent, and what the documentation shows."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).parents[1] / "recordings"

JOBS = b"/api/jobs"
_LARGEST = 12_000
"""Bytes: of larger ones there are smaller ones of the same kind, and a million inputs are to be made."""

_LISTED = [
    {
        "id": "6f1a6f0e-0000-4000-8000-000000000001",
        "status": "in_progress",
        "priority": 1,
        "create_time": 1767268800000,
    },
    {"id": "6f1a6f0e-0000-4000-8000-000000000002", "status": "pending", "priority": 2.0, "create_time": 1767268801000},
]


@cache
def bodies() -> dict[str, tuple[bytes, ...]]:
    """Answers of ComfyUI by route."""
    found: dict[str, dict[bytes, None]] = {
        route: {}
        for route in ("/prompt", "/queue", "/history", "/history/{id}", "/system_stats", "/api/jobs", "/api/jobs/{id}")
    }
    details: dict[bytes, None] = found["/api/jobs/{id}"]
    for step in _steps():
        request, body = step.get("request", {}), step.get("body")
        if request.get("method") != "GET" or step.get("status") != 200 or body is None:
            continue
        path = request["path"].split("?")[0].removeprefix("/api")
        route = "/history/{id}" if path.startswith("/history/") else path
        if route not in found:
            continue
        text = json.dumps(body).encode()
        if len(text) <= _LARGEST:
            found[route][text] = None
        if route == "/queue":
            for item in (*body["queue_running"], *body["queue_pending"]):
                workflow = {"prompt": item[2], "extra_data": item[3], "outputs_to_execute": item[4]}
                details[json.dumps({"id": item[1], "workflow": workflow}).encode()] = None
    found["/api/jobs"][json.dumps({"jobs": _LISTED, "pagination": {"total": 2}}).encode()] = None
    return {route: tuple(texts) for route, texts in found.items()}


@cache
def frames() -> tuple[bytes, ...]:
    """Text frames of ComfyUI, some of each type."""
    kept: dict[str, dict[bytes, None]] = {}
    for step in _steps():
        if "frame" in step:
            of_type = kept.setdefault(step["frame"].get("type"), {})
            if len(of_type) < 60:
                of_type[json.dumps(step["frame"]).encode()] = None
    return tuple(text for of_type in kept.values() for text in of_type)


def _steps() -> list[dict[str, Any]]:
    return [step for file in sorted(RECORDINGS.glob("*.json")) for step in json.loads(file.read_text())["steps"]]


REQUESTS = tuple(
    json.dumps(message).encode()
    for message in (
        {"type": "ping", "id": 1},
        {"type": "get_job_progress", "job_id": 123, "id": "a"},
        {"type": "get_job_progress", "prompt_id": "6f1a6f0e-0000-4000-8000-000000000001"},
        {"type": "get_queue_statistics", "id": "b"},
        {"type": "subscribe", "job_ids": [1, "2"], "prompt_ids": ["a"], "batch_ids": [], "servers": ["gpu0"]},
        {"type": "subscribe", "statuses": ["completed", "failed"], "id": 3},
        {"type": "unsubscribe"},
    )
)
"""What push clients say."""

REGISTRATION = json.dumps({
    "job_id": 123, "prompt_id": "6f1a6f0e-0000-4000-8000-000000000001", "job_type": "video", "batch_id": "b",
    "server": "gpu0",
}).encode()  # fmt: skip

NOTIFICATION = json.dumps({
    "version": "4", "groupKey": "{}:{}", "status": "firing", "receiver": "exporter", "alerts": [
        {
            "status": "firing", "labels": {"alertname": "ComfyUIDown", "server": "gpu0", "severity": "critical"},
            "annotations": {"summary": "gpu0 does not answer", "description": "for 5 minutes"},
            "startsAt": "2026-01-01T12:00:00.000Z", "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "c0ffee",
            "generatorURL": "http://prometheus/graph?g0.expr=comfyui_up",
        },
    ],
}).encode()  # fmt: skip

CONFIGS = (
    """\
poll_interval: 2s
request_timeout: 10s
servers:
  - name: gpu0
    url: http://127.0.0.1:8188
    stall_timeout: 10m
""",
    """\
servers:
  - url: http://gpu0:8188/x
    basic_auth: {username: a, password_file: p}
    tls: {insecure_skip_verify: true}
""",
    """\
job_types:
  - job_type: video
    node_types: ["VHS_*", "SaveVideo"]
job_labels: [project]
limits: {label_values: 50}
""",
    """\
failure_patterns:
  - pattern: oom
    title: "Out of memory"
    regex: "CUDA.*memory"
buckets: {job_duration: [1, 2, 5]}
""",
    """\
push: {max_clients: 10, queue_size: 4, allowed_origins: [https://a.example]}
store: {url: memory, retention: 90d}
""",
    """\
webhooks:
  - url: https://a.example/hook
    statuses: [completed, failed]
keep_finished: 15m
max_response_size: 64MiB
""",
    """\
server_files: ["servers/*.yml"]
shard: 0/2
x: &x {url: "http://a"}
servers: [*x]
job_grace: 30s
""",
)

WEB_CONFIGS = (
    """\
basic_auth_users:
  alice: $2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG
rate_limit: {interval: 100ms, burst: 20}
""",
    """\
http_server_config:
  http2: true
  headers:
    X-Frame-Options: deny
    Strict-Transport-Security: max-age=1
""",
    """\
tls_server_config:
  cert_file: a.pem
  key_file: a.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
  min_version: TLS12
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
  curve_preferences: [X25519]
""",
)

SERVER_FILES_YAML = (
    '- targets: ["gpu0:8188", "gpu1:8188"]\n  labels: {__scheme__: https, __path_prefix__: /x}\n',
    "- targets:\n    - gpu2:8188\n  labels:\n    server: two\n- targets: []\n",
)
SERVER_FILES_JSON = (
    json.dumps([{"targets": ["gpu0:8188", "http://gpu1:8188/x"], "labels": {"__scheme__": "https"}}]).encode(),
    json.dumps([{"targets": ["gpu2:8188"], "labels": {"server": "two", "rack": "1"}}, {"targets": []}]).encode(),
)
