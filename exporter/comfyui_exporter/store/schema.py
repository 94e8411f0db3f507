"""The tables. A change here needs a migration in `migrations.py` and a new version."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, MetaData, Table, Text, TypeDecorator
from sqlalchemy.engine import Dialect

_ESCAPE = "\N{REPLACEMENT CHARACTER}\x01"
_ESCAPED = re.compile(f"{_ESCAPE}([01])")


class AnyText(TypeDecorator[str]):
    """Text that may have NUL characters in it, which PostgreSQL refuses and submitters may send."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Write NUL as something else."""
        if value is None or ("\x00" not in value and _ESCAPE not in value):
            return value
        return value.replace(_ESCAPE, _ESCAPE + "1").replace("\x00", _ESCAPE + "0")

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Read it back."""
        if value is None or _ESCAPE not in value:
            return value
        return _ESCAPED.sub(lambda match: "\x00" if match[1] == "0" else _ESCAPE, value)


metadata = MetaData()

STORE = Table(
    "comfyui_store",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    # Who writes: changes with each start, so that a writer who lost the lock without knowing it is found out.
    Column("writer", Text, nullable=False),
)
"""One row, with id 1. Points in time are Unix seconds in all tables, those of ComfyUI's clock are named `*_ms`."""

RUNS = Table(
    "comfyui_runs",
    metadata,
    Column("run_id", AnyText, primary_key=True),
    # Counts up in the order of first sight; what the API pages by.
    Column("seq", BigInteger, nullable=False),
    # NULL while a registered job has not been seen and was registered for no server.
    Column("server", AnyText),
    Column("prompt_id", AnyText, nullable=False),
    Column("number", Float(53)),
    Column("epoch", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("job_id", AnyText),
    Column("job_id_is_number", Boolean, nullable=False),
    Column("batch_id", AnyText),
    Column("job_type", AnyText, nullable=False),
    Column("labels", Text, nullable=False),
    Column("fingerprint", Text),
    Column("features", Text),
    Column("created_ms", BigInteger),
    Column("first_seen", Float(53), nullable=False),
    Column("detailed", Boolean, nullable=False),
    Column("submission_seen", Boolean, nullable=False),
    Column("started_at", Float(53)),
    Column("seen_running", Boolean, nullable=False),
    Column("start_seen", Boolean, nullable=False),
    Column("heard_at", Float(53)),
    Column("percent", Float(53), nullable=False),
    Column("predicted", Float(53)),
    Column("registered", Boolean, nullable=False),
    Column("webhook_url", AnyText),
    Column("timed_out", Boolean, nullable=False),
    Column("ended_at", Float(53)),
    Column("has_entry", Boolean, nullable=False),
    Column("entry_started_ms", BigInteger),
    Column("entry_ended_ms", BigInteger),
    Column("duration", Float(53)),
    Column("pattern", Text, nullable=False),
    Column("node_id", AnyText),
    Column("node_type", AnyText),
    Column("exception_type", AnyText),
    Column("message", AnyText),
    Column("outputs", Text),
    Column("output_counts", Text),
    Column("nodes_executed", Integer, nullable=False),
    Column("nodes_cached", Integer, nullable=False),
    Index("comfyui_runs_seq", "seq"),
    # These come from submitters, and may be longer than what a B-tree of PostgreSQL takes.
    *(Index(f"comfyui_runs_{name}", name, postgresql_using="hash") for name in ("prompt_id", "job_id", "batch_id")),
    Index("comfyui_runs_ended_at", "ended_at"),
    Index("comfyui_runs_status", "status", "seq"),
    # What a start reads of each server: the open runs, and the newest of those that ended in some way.
    Index("comfyui_runs_server", "server", "state", "ended_at"),
)
"""Every run from its first sighting on."""

TOTALS = Table(
    "comfyui_totals",
    metadata,
    # Of server, family and labels.
    Column("key", Text, primary_key=True),
    Column("server", AnyText, nullable=False),
    Column("family", Text, nullable=False),
    # JSON object, names sorted, without `server`.
    Column("labels", AnyText, nullable=False),
    # Of a histogram its sum.
    Column("value", Float(53), nullable=False),
    # JSON lists: upper bounds of a histogram's buckets, and the observations in each, not counted up.
    Column("bounds", Text, nullable=False),
    Column("counts", Text, nullable=False),
    Index("comfyui_totals_server", "server"),
)
"""Where each series of a lasting counter or histogram stands."""

ENTRIES = Table(
    "comfyui_entries",
    metadata,
    # Of server, prompt_id, number and started_ms.
    Column("key", Text, primary_key=True),
    Column("server", AnyText, nullable=False),
    Column("prompt_id", AnyText, nullable=False),
    Column("number", Float(53), nullable=False),
    Column("started_ms", BigInteger),
    Column("seq", BigInteger, nullable=False),
    Column("ground", Boolean, nullable=False),
    Index("comfyui_entries_seq", "server", "seq"),
)
"""The entries of each server's history that are accounted for, see `tracker.ground`."""

SERVERS = Table(
    "comfyui_servers",
    metadata,
    Column("server", AnyText, primary_key=True),
    # How many restarts of ComfyUI were seen.
    Column("epoch", BigInteger, nullable=False),
    Column("before_ms", BigInteger),
    Column("dated", Boolean, nullable=False),
    # JSON: the newest entry known as [prompt_id, number, started_ms], and prompt_ids that events named.
    Column("newest", Text, nullable=False),
    Column("named", Text, nullable=False),
    Column("last_activity", Float(53)),
)
"""The mark of each server: there is a row as soon as its first look is done."""

WEBHOOKS = Table(
    "comfyui_webhooks",
    metadata,
    Column("delivery_id", Text, primary_key=True),
    Column("hook", Text, nullable=False),
    Column("url", AnyText, nullable=False),
    # Scheme, host and port: deliveries to one that is busy are passed over.
    Column("receiver", AnyText, nullable=False),
    Column("run_id", AnyText, nullable=False),
    Column("status", Text, nullable=False),
    Column("body", AnyText, nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Float(53), nullable=False),
    Index("comfyui_webhooks_next_at", "next_at"),
)
"""Deliveries that are still to be made."""

ALERTS = Table(
    "comfyui_alerts",
    metadata,
    # A hash of the labels.
    Column("alert_id", Text, primary_key=True),
    # JSON, as clients are told it.
    Column("body", AnyText, nullable=False),
    Column("heard_at", Float(53), nullable=False),
)
"""Alerts that fire."""
