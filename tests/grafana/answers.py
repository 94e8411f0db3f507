"""What a Prometheus answers to the queries of the dashboards, and which may go without an answer."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping

from grafana.boards import QUERIES, Query

SAY_SO = {
    ("comfyui-capacity", "GPU utilisation"),
    ("comfyui-capacity", "GPU memory in use"),
    ("comfyui-capacity", "GPU temperature"),
    ("comfyui-capacity", "GPU power"),
    ("comfyui-capacity", "Queue too long in"),
    ("comfyui-exporter", "Webhook calls"),
    ("comfyui-exporter", "Sink errors, folded labels"),
}
"""Panels without data in a demo, which say why: no GPU, no webhooks, no queue that only grows, no broken receivers."""

WITHOUT_A_STALL = "comfyui_job_stalled"
"""Nothing stalls there either, but this is one column of tables that have others."""


def answers(url: str, query: Query, chosen: Mapping[str, str], seconds: float) -> bool:
    """Whether a query gives something, over as many seconds up to now or at this moment.

    Raises:
        RuntimeError: Prometheus refuses it.
    """
    end = time.time()
    parameters = {"query": query.filled(dict(chosen))}
    if query.instant:
        parameters["time"] = str(end)
    else:
        parameters |= {"start": str(end - seconds), "end": str(end), "step": "1"}
    asked = f"{url}/api/v1/{'query' if query.instant else 'query_range'}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(asked, timeout=30) as response:
            return bool(json.load(response)["data"]["result"])
    except urllib.error.HTTPError as refusal:
        msg = f"{query}: {refusal.read().decode()}\n{parameters['query']}"
        raise RuntimeError(msg) from refusal


def unanswered(url: str, queries: Iterable[Query], chosen: Mapping[str, str], seconds: float) -> list[Query]:
    """Give the queries that give nothing, and that are not of panels which say so."""
    return [query for query in queries if not answers(url, query, chosen, seconds) and not may_be_empty(query)]


def may_be_empty(query: Query) -> bool:
    """Whether a demo, even one with failures and a restart, need not have data for it."""
    return (query.uid, query.of) in SAY_SO or WITHOUT_A_STALL in query.expression


def asked() -> list[Query]:
    """Give all queries of panels and variables; annotations mark what seldom happens."""
    return [query for query in QUERIES if not query.of.startswith("annotation")]
