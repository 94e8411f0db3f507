"""The naive way to watch a ComfyUI: read /queue and /history whole, again and again, and parse them with json.

    python bench/naive.py URL SECONDS INTERVAL

Writes one line of JSON: how many times it read both, and what came.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request

ROUTES = ("/queue", "/history")


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as response:
        body: bytes = response.read()
        return body


def read_all(url: str) -> dict[str, int]:
    sizes = {}
    for route in ROUTES:
        body = fetch(url + route)
        json.loads(body)
        sizes[route] = len(body)
    return sizes


def main() -> None:
    url, seconds, interval = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    started = time.monotonic()
    received = dict.fromkeys(ROUTES, 0)
    reads = 0
    while True:
        began = time.monotonic()
        for route, size in read_all(url).items():
            received[route] += size
        reads += 1
        # Whole intervals only: one that is cut short would make the pace look higher than it is.
        time.sleep(max(0.0, began + interval - time.monotonic()))
        if time.monotonic() - started >= seconds:
            break
    took = time.monotonic() - started
    print(json.dumps({"seconds": took, "reads": reads, "received": received, "cpu": time.process_time()}))


if __name__ == "__main__":
    main()
