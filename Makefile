# Each target sets up what it needs, in this folder only. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?=

.DEFAULT_GOAL := help
.PHONY: help run test check format conformance perf perf-gate lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# --require-hashes: what is installed is what was locked. The product itself is editable.
$(VENV)/.run: .requirements/run.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Sidecar needs Python 3.11 or newer; say which with PYTHON=python3.x make ...")'
	@test -x $(BIN)/python || { echo "creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing what the product needs (about 20 s)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r .requirements/run.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: .requirements/dev.txt $(VENV)/.run
	@echo "installing what tests and checks need (about 20 s)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r .requirements/dev.txt
	@touch $@

$(VENV)/.perf: .requirements/perf.txt $(VENV)/.dev
	@echo "installing what draws plots (about 10 s)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r .requirements/perf.txt \
	  || echo "it could not be installed: there will be no plots"
	@touch $@

run: $(VENV)/.run ## start everything with a demo application; PORT=8080 chooses the port
	@exec $(BIN)/sidecar up $(if $(PORT),--port $(PORT))

test: check ## all tests, with coverage
	@.ci/test

check: $(VENV)/.dev ## format, lint, types, architecture
	@$(BIN)/ruff format --check --quiet . || { echo 'formatting differs: run `make format`'; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter

format: $(VENV)/.dev ## format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix --unsafe-fixes .

conformance: $(VENV)/.dev ## Autobahn's fuzzing client, with and without the sidecar (minutes); needs Python 2.7
	@$(BIN)/python -m tests.conformance.autobahn $(CASES)

perf: $(VENV)/.perf ## CPU per request beside other proxies (10 minutes): table, plot, JSON; PEERS=all builds more
	@$(BIN)/python -m perf --peers $(or $(PEERS),default)

perf-gate: $(VENV)/.dev ## a minute: fails where Sidecar became slower than perf/gate/limits.json allows
	@$(BIN)/python -m perf.gate

lock: $(VENV)/.dev ## make the locked requirements anew
	@for set in run dev perf; do .requirements/lock $$set; done

clean: ## remove what the targets made
	rm -rf $(VENV) .sidecar .cache
