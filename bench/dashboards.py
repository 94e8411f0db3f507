"""Let a demo run for some minutes, and ask Prometheus every query of the dashboards.

    python bench/dashboards.py [--minutes M] [--healthy]

Two simulated ComfyUIs with traffic as in the demo of docker-compose.yml, the exporter, and a real Prometheus
(PROMETHEUS, else `prometheus` on the PATH) with our rules and the intervals of the stack. Without --healthy a tenth of
the jobs fails, and one ComfyUI is restarted half way. Prints the queries that have no answer in the end, and ends with
1 if some are of panels that should have one. Annotations are asked too, but may be without an answer.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from grafana.answers import answers, may_be_empty
from grafana.boards import CHOSEN, QUERIES
from grafana.demo import demo

INTERVAL_MS = 15_000
"""Of scrapes, as in prometheus/prometheus.yml."""

LOOKS = 5
"""What is true of this moment alone, such as a step of a running job, may need some."""

ONLY_WITH_FAILURES = (
    "Failures by pattern",
    "Most frequent failures",
    "Last failures",
    "By node and exception",
    "Alerts firing now",
)
ONLY_AFTER_A_RESTART = ("Before and after the last restart", "Requests that failed")


def main() -> int:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--minutes", type=float, default=10)
    cli.add_argument("--healthy", action="store_true", help="no failures and no restart")
    options = cli.parse_args()
    seconds = options.minutes * 60
    chosen = CHOSEN | {
        "__range": f"{round(seconds)}s", "__rate_interval": "75s", "__interval": "60s", "__interval_ms": "60000",
    }  # fmt: skip
    failure_rate = 0.0 if options.healthy else 0.1
    with demo(interval_ms=INTERVAL_MS, speed=4, rate=20, failure_rate=failure_rate) as running:
        time.sleep(seconds / 2)
        if not options.healthy:
            running.crash(down_seconds=20)
        time.sleep(seconds / 2)
        empty = QUERIES
        for _ in range(LOOKS):
            empty = [query for query in empty if not answers(running.prometheus.url, query, chosen, seconds)]
            time.sleep(INTERVAL_MS / 1000)
    excused = [query for query in empty if may_be_empty(query) or query.of.startswith("annotation")]
    if options.healthy:
        quiet = {*ONLY_WITH_FAILURES, *ONLY_AFTER_A_RESTART}
        excused += [query for query in empty if query.of in quiet and query not in excused]
    for query in empty:
        print(f"{'empty, and says so' if query in excused else 'EMPTY'}: {query}\n    {query.expression}")
    print(f"{len(QUERIES)} queries, {len(empty)} without an answer, {len(empty) - len(excused)} of them without excuse")
    return 1 if len(empty) > len(excused) else 0


if __name__ == "__main__":
    sys.exit(main())
