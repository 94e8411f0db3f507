"""What each colour means, on every dashboard. Names are those of Grafana, which has them for either theme."""

from __future__ import annotations

from types import MappingProxyType

GREEN, RED, ORANGE, YELLOW, BLUE, PURPLE = "green", "red", "orange", "yellow", "blue", "purple"
GREY, DARK_GREY = "#9aa0a8", "#6b7078"

GOOD = GREEN
WARNING = ORANGE
CRITICAL = RED
INFORMATION = BLUE
NEUTRAL = GREY
LIMIT = RED
"""The line that something should stay below."""

BY_STATUS = MappingProxyType(
    {
        "submitted": BLUE,
        "running": BLUE,
        "processing": BLUE,
        "completing": BLUE,
        "pending": YELLOW,
        "queued": YELLOW,
        "initializing": YELLOW,
        "completed": GREEN,
        "failed": RED,
        "timeout": ORANGE,
        "lost": PURPLE,
        "interrupted": GREY,
        "cancelled": DARK_GREY,
        "unknown": DARK_GREY,
    }
)
"""Of a job, wherever a series or a column is named after one."""

BY_SEVERITY = MappingProxyType({"critical": CRITICAL, "warning": WARNING, "info": INFORMATION})
RESTART = PURPLE
"""With a restart go the jobs that are lost."""
