"""The limit of open files, of which each client takes one."""

from __future__ import annotations

import logging
import resource

log = logging.getLogger("comfyui_exporter.push")

_OTHERS = 100
"""Files and sockets besides the clients'."""


def allow_open_files(clients: int, others: int = 0) -> None:
    """Raise our own limit as far as may be, for systems give 1024 unless asked; says if that is not enough.

    `others` are connections besides the clients'.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = clients + others + _OTHERS
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning(
            "the limit of open files is too low for push.max_clients",
            extra={"limit": allowed, "max_clients": clients},
        )
