"""`comfyui-exporter` where a minute is two seconds: what it does every so many seconds, it does as much more often.

Its budget for reads, its longest wait for a server that is away, and how often it asks for memory. Nothing else differs
from the real program; what can be configured is left to its configuration.
"""

from __future__ import annotations

from alerting.haste import HASTE
from comfyui_exporter.cli.main import main
from comfyui_exporter.watch import backoff, budget, listener, server_watch

if __name__ == "__main__":
    budget.SHARE *= HASTE
    backoff.LONGEST /= HASTE
    listener.HEARTBEAT /= HASTE / 4  # a busy machine may not answer within a second
    server_watch.STATS_INTERVAL /= HASTE
    main()
