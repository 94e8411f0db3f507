"""Which blocks of the pages are what: commands that are run, commands that cannot be, and what is only shown."""

from __future__ import annotations

from docs.blocks import SHELLS, Block

RUN = {
    "amtool", "cp", "curl", "echo", "htpasswd", "install", "mkdir", "printf", "promtool", "sqlite3", "comfyui-exporter",
    "python", "uvicorn", "make",
}  # fmt: skip
"""Programs that are run; `make` only says what it would do."""

NOT_HERE = {
    "apt": "it changes the machine",
    "apt-get": "it changes the machine",
    "createdb": "it needs a PostgreSQL that runs; tests/store has one of its own",
    "docker": "it needs a Docker daemon; tests/deploy holds the files to what the pages say",
    "git": "it needs the origin of the clone",
    "helm": "it needs a cluster",
    "journalctl": "it needs systemd",
    "kubectl": "it needs a cluster; tests/deploy holds the files to what the pages say",
    "pg_dump": "it needs a PostgreSQL that runs; test_backup.py has one",
    "pg_restore": "it needs a PostgreSQL that runs; test_backup.py has one",
    "pip": "it needs a package index; tests/packaging builds the wheel and installs it",
    "python3": "it makes an environment, for pip",
    "psql": "it needs a PostgreSQL that runs",
    "systemctl": "it needs systemd; tests/deploy asks systemd-analyze about the units",
}
"""Programs that are not run, and why. What they name is looked for all the same."""


ELSEWHERE = {
    "demo --with-stack": "tests/demo starts it so, too; and it takes a while",
    "comfyui-exporter top": "it needs a terminal; tests/terminal has one",
    "db.example.org": "it needs a PostgreSQL that runs; tests/store has one of its own",
}
"""Words of commands that are not run because of what they need, and the reason. Their flags are looked at."""

SHOWN = {
    ("docs/architecture.md", "ComfyUI -- HTTP"): "a picture",
    ("docs/architecture.md", "cli\n"): "layers; test_architecture.py compares them with the linter's",
    ("docs/bridge.md", "comfyui-exporter bridge:"): "what ComfyUI logs; tests/bridge",
    ("docs/bridge.md", "comfyui_exporter_events_total{"): "a series; test_links.py knows the metric",
    ("docs/demo.md", "Three simulated"): "what it prints; tests/demo/test_page.py",
    ("docs/docker.md", "STACK_CONFIG_DIR="): "a line of .env; tests/deploy/test_compose.py",
    ("docs/how-it-watches.md", "C = 1 ms"): "a formula",
    ("docs/how-it-watches.md", "sum by (server)"): "a query; test_examples.py",
    ("docs/live-page.md", "http://127.0.0.1:9188/?"): "an address for a browser; tests/browser",
    ("docs/operations.md", "rm -f"): "a restore; test_backup.py does it, to an exporter that does not run",
    ("docs/webhooks.md", "POST /hooks/comfyui"): "a request of ours; tests/webhooks",
}
"""Blocks that nobody types, by their page and first words: what they are, or which test knows them."""


def is_shown(block: Block) -> bool:
    """Whether it is in the list of those that nobody types."""
    return any(block.page == page and block.text.startswith(first) for page, first in SHOWN)


def is_elsewhere(text: str) -> bool:
    """Whether a command needs what is not here."""
    return any(word in text for word in ELSEWHERE)


def is_typed(block: Block) -> bool:
    """Whether it is a command, or several."""
    known = block.first_word in {*RUN, *NOT_HERE}
    return block.language in SHELLS or (not block.language and known and not is_shown(block))
