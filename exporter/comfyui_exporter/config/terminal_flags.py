"""The flags of `top`, `jobs`, `status` and `wait` that say where the exporter is and what opens it, in one table.

Imports nothing heavy, as `--help` reads it.
"""

from __future__ import annotations

from dataclasses import replace

from comfyui_exporter.config.flags import Flag

EXPORTER_URL = Flag("url", "URL", "Where the exporter is.", "http://127.0.0.1:9188")

TERMINAL_PREFIX = f"{EXPORTER_URL.variable}_"
"""So that they cannot be taken for those of an exporter in the same environment."""

TERMINAL_FLAGS = (
    EXPORTER_URL,
    *(
        replace(flag, prefix=TERMINAL_PREFIX)
        for flag in (
            Flag("token-file", "FILE", "File with the token that the exporter asks for.", "none"),
            Flag("basic-auth-file", "FILE", "File with USER:PASSWORD, instead of a token.", "none"),
            Flag("ca-file", "FILE", "Authorities (PEM) to trust for https, not the system's.", "none"),
            Flag("cert-file", "FILE", "Our certificate (PEM), where the exporter asks for one.", "none"),
            Flag("key-file", "FILE", "The key of --cert-file, unless that holds it too.", "none"),
        )
    ),
)

INSECURE = Flag("insecure", "", "Take any certificate of the exporter.", prefix=TERMINAL_PREFIX)
