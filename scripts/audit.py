"""Asks whether vulnerabilities are known of what the image is made of. 1: there are.

    audit.py PIP_AUDIT FILE

Where the data cannot be reached this says so and is content: that a network is missing is no finding. pip-audit alone
says "no known vulnerabilities" there, having passed over every package that an index knows nothing of.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_PATIENCE = 15
"""Seconds that each question may take."""


def main(program: str, lock: str) -> int:
    """Ask, and say what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "audit.json"
        asking = [program, "--requirement", lock, "--require-hashes", "--disable-pip", "--progress-spinner", "off"]
        done = subprocess.run(
            [*asking, "--timeout", str(_PATIENCE), "--format", "json", "--output", str(answer)],
            capture_output=True,
            text=True,
            check=False,
        )
        if not answer.exists() or not answer.stat().st_size:
            if "ConnectionError" in done.stderr or "timed out" in done.stderr:
                print(f"NOT AUDITED: the vulnerability data cannot be reached; nothing is known of {lock}")
                return 0
            print(done.stdout + done.stderr, file=sys.stderr)
            return 1
        return judged(json.loads(answer.read_bytes()), lock)


def judged(answer: dict[str, Any], lock: str) -> int:
    """Put an answer of pip-audit into words."""
    packages = answer["dependencies"]
    passed_over = [package["name"] for package in packages if "skip_reason" in package]
    if packages and len(passed_over) == len(packages):
        print(f"NOT AUDITED: the vulnerability data cannot be reached; nothing is known of {lock}")
        return 0
    if passed_over:
        print(f"NOT AUDITED: {', '.join(passed_over)}")
    found = [(package, known) for package in packages for known in package.get("vulns", ())]
    for package, known in found:
        mended = ", ".join(known["fix_versions"]) or "no version yet"
        print(
            f"{package['name']} {package['version']}: {', '.join([known['id'], *known['aliases']])}, mended in {mended}"
        )
    print(f"{len(packages) - len(passed_over)} packages audited, {len(found)} known vulnerabilities")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
