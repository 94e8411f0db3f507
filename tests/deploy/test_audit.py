"""`make audit` tells apart: nothing found, something found, nothing asked."""

from __future__ import annotations

import json
import runpy
import stat

import pytest

from deploy.compose import ROOT

SCRIPT = runpy.run_path(str(ROOT / "scripts/audit.py"))
AUDITED = {"name": "aiohttp", "version": "3.9.0", "vulns": []}
PASSED_OVER = {"name": "yarl", "skip_reason": "Dependency not found on PyPI and could not be audited: yarl (1.0)"}
KNOWN = {"id": "PYSEC-2024-24", "fix_versions": ["3.9.2"], "aliases": ["CVE-2024-23334"], "description": "..."}


@pytest.fixture
def audit(tmp_path, capsys):
    """Run it with a pip-audit that answers so, and give exit code and words."""

    def run(answer=None, error="", code=0):
        program = tmp_path / "pip-audit"
        (tmp_path / "answer").write_text("" if answer is None else json.dumps({"dependencies": answer, "fixes": []}))
        (tmp_path / "error").write_text(error)
        # The file that is asked for comes last.
        program.write_text(
            f'#!/bin/sh\nfor file; do :; done\ncat {tmp_path}/answer > "$file"\ncat {tmp_path}/error >&2\nexit {code}\n'
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return SCRIPT["main"](str(program), "requirements.txt"), capsys.readouterr()

    return run


def test_nothing_found(audit):
    code, said = audit([AUDITED])
    assert (code, said.out) == (0, "1 packages audited, 0 known vulnerabilities\n")


def test_a_finding_fails_and_is_named_with_what_mends_it(audit):
    code, said = audit([AUDITED | {"vulns": [KNOWN]}, PASSED_OVER], code=1)
    assert code == 1
    assert said.out.splitlines() == [
        "NOT AUDITED: yarl",
        "aiohttp 3.9.0: PYSEC-2024-24, CVE-2024-23334, mended in 3.9.2",
        "1 packages audited, 1 known vulnerabilities",
    ]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        # An index without the data: pip-audit itself says "no known vulnerabilities found" and 0.
        ([PASSED_OVER], "No known vulnerabilities found\n"),
        (None, "requests.exceptions.ConnectionError: ... Failed to resolve\n"),
    ],
)
def test_where_the_data_cannot_be_reached_it_is_said_and_is_no_failure(audit, answer, error):
    code, said = audit(answer, error, code=1 if answer is None else 0)
    assert (code, said.out) == (
        0,
        "NOT AUDITED: the vulnerability data cannot be reached; nothing is known of requirements.txt\n",
    )


def test_another_failure_is_one(audit):
    code, said = audit(None, "error: requirements.txt is no requirements file\n", code=2)
    assert code == 1
    assert "no requirements file" in said.err
