# Two commands are enough: `make run` and `make test`. Each installs what it needs.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Programs that have nothing to do with ours, and requirements of their own.
TOOLS := .make/tools

.PHONY: help run test lint format fuzz bench docs dashboards kubernetes lock audit sbom install install-dev system clean

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 12

run: install  ## Watch COMFYUI_URL, or without one simulated ComfyUIs; the page is http://127.0.0.1:9188
	@BIN=$(BIN) scripts/run

test: install-dev system lint  ## Run all checks and tests
	@for program in promtool prometheus; do $$program --version 2>&1 | head -n 1; done
	$(BIN)/pytest

lint: install-dev  ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install-dev  ## Put the code into the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: install-dev  ## Look for an order of happenings that is counted wrong (minutes; FUZZ_EXAMPLES=5000)
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-5000} $(BIN)/pytest --timeout 3600 tests/watch/test_every_interleaving.py

docs: install-dev  ## Write the pages that come from the code
	$(BIN)/python -m comfyui_exporter.metrics.reference > docs/metrics.md
	$(BIN)/python -m comfyui_exporter.config.reference > docs/configuration.md

dashboards: install-dev  ## Write the dashboards that come from grafana/src
	PYTHONPATH=grafana/src $(BIN)/python -m comfyui_dashboards

kubernetes: install-dev  ## Write the PrometheusRules that come from prometheus/rules
	$(BIN)/python scripts/kubernetes_rules.py

bench: install-dev system  ## Measure what watching costs, how fast and cheap pushing is, that kills lose nothing, that alerts are told, that a million hostile inputs do no harm (two hours)
	$(BIN)/python bench/watching.py
	$(BIN)/python bench/latency.py
	$(BIN)/python bench/push.py
	$(BIN)/python bench/eta.py
	$(BIN)/python bench/chaos.py
	$(BIN)/python bench/isolation.py
	$(BIN)/python bench/restore.py
	$(BIN)/python bench/fuzz.py
	$(BIN)/python bench/dashboards.py
	$(BIN)/python bench/drills.py
	$(BIN)/python bench/drills.py --healthy 48

lock: $(TOOLS)/.installed  ## Pin what the image is made of: what has to change alone, with UPGRADE=1 everything to the newest
	scripts/lock $(TOOLS)/bin/uv $(if $(UPGRADE),--upgrade)

audit: $(TOOLS)/.installed  ## Ask whether vulnerabilities are known of what the image is made of
	$(PYTHON) scripts/audit.py $(TOOLS)/bin/pip-audit exporter/requirements.txt

sbom: install-dev  ## Write build/sbom.cdx.json: what the image is made of, for programs (CycloneDX)
	@mkdir -p build
	$(BIN)/cyclonedx-py requirements exporter/requirements.txt --pyproject pyproject.toml --output-reproducible --output-file build/sbom.cdx.json

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; set PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || scripts/system-packages python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --editable . --group dev
	@touch $@ $(VENV)/.installed

$(TOOLS)/.installed:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet uv==0.13.9 pip-audit==2.10.1
	@touch $@

system:
	@{ command -v promtool && command -v prometheus; } >/dev/null || scripts/system-packages prometheus
	@{ { command -v alertmanager || command -v prometheus-alertmanager; } && command -v amtool; } >/dev/null || scripts/system-packages prometheus-alertmanager
	@{ command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; } >/dev/null 2>&1 || scripts/system-packages postgresql
	@command -v openssl >/dev/null || scripts/system-packages openssl
	@{ command -v curl && command -v sqlite3; } >/dev/null || scripts/system-packages curl sqlite3
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || scripts/system-packages chromium

clean:  ## Remove what the targets made
	rm -rf $(VENV) $(TOOLS) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
