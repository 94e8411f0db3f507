"""Searches with regular expressions of others in texts of others, which end."""

from __future__ import annotations

import re
import signal
import threading

from comfyui_exporter.failures import TookTooLong

SEARCH_TIME = 0.1
"""Seconds of CPU that a search may take; a good expression takes a thousandth of that for 5,000 characters."""


def bounded_search(regex: re.Pattern[str], text: str) -> bool:
    """Whether it is found; beside the main thread, however long that takes.

    `re` looks for signals while it searches, so the alarm of a clock ends it. The clock is that of CPU time: a busy
    machine makes no search too long, and no other part of the process uses that one.

    Raises:
        TookTooLong: it took more than SEARCH_TIME.

    """
    if threading.current_thread() is not threading.main_thread():
        return regex.search(text) is not None
    searching = True

    def give_up(_number: int, _frame: object) -> None:
        # One that rings when the search is just over must not go off in whatever comes next.
        if searching:
            raise TookTooLong

    signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, SEARCH_TIME)
    try:
        return regex.search(text) is not None
    finally:
        searching = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
