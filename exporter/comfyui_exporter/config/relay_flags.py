"""The flags of `relay`, in one table. Imports nothing heavy, as `--help` reads it."""

from __future__ import annotations

from dataclasses import replace

from comfyui_exporter.config.flags import ENVIRONMENT_PREFIX, Flag

RELAY_PREFIX = f"{ENVIRONMENT_PREFIX}RELAY_"
"""So that a relay and an exporter can be told apart in one environment."""

RELAY_FLAGS = tuple(
    replace(flag, prefix=RELAY_PREFIX)
    for flag in (
        Flag("upstream", "URL", "Push service to relay: ws://HOST:PORT or wss://HOST:PORT, with or without a path."),
        Flag("upstream.token-file", "FILE", "File with the token that the upstream asks for.", "none"),
        Flag(
            "upstream.basic-auth-file", "FILE", "File with USER:PASSWORD for the upstream, instead of a token.", "none"
        ),
        Flag("upstream.ca-file", "FILE", "Authorities (PEM) to trust for the upstream, not the system's.", "none"),
        Flag("upstream.cert-file", "FILE", "Our certificate (PEM), where the upstream asks for one.", "none"),
        Flag("upstream.key-file", "FILE", "The key of --upstream.cert-file, unless that holds it too.", "none"),
        Flag("web.config.file", "FILE", "TLS and basic auth in the format of the exporter-toolkit.", "none"),
        Flag("push.listen-address", "HOST:PORT", "Where to serve. :PORT: on all interfaces.", "127.0.0.1:8329"),
        Flag("push.max-clients", "NUMBER", "How many clients may be connected at once.", "10000"),
        Flag("push.queue-size", "NUMBER", "How many final updates may wait for a client before it is closed.", "64"),
        Flag(
            "push.allowed-origins",
            "ORIGIN",
            "Origins of web pages that may connect, besides loopback and our own.",
            "none",
            repeatable=True,
        ),
        Flag("push.token-file", "FILE", "File with the token that clients have to show.", "none"),
        Flag("log.level", "LEVEL", "One of debug, info, warn, error.", "info"),
        Flag("log.format", "FORMAT", "One of logfmt, json.", "logfmt"),
    )
)
