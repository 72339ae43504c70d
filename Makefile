# One entry a habit; `make` lists them. Needs Python 3.11 or newer, everything else is fetched.

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
PAGES := service/api/static/asyncapi
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps --only-binary :all:

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(VENV)/.runtime try-pages ## Start the service; makes its environment first
	@exec $(BIN)/python -m service run

.PHONY: test
test: $(VENV)/.dev needs try-pages ## Run every test, with real PostgreSQL, RabbitMQ and Kafka; installs what is missing
	# Most tests wait for processes and clocks: two at a time use two cores.
	$(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: test-quick
test-quick: $(VENV)/.dev ## Run the tests that need no broker and no process, in less than a minute
	$(BIN)/python -m pytest -m "not process and not slow" tests/unit tests/contract tests/api

.PHONY: bench
bench: $(VENV)/.bench needs ## Measure the speed against the baselines
	$(BIN)/python -m tests.benchmarks $(BENCH)

.PHONY: bench-gate
bench-gate: $(VENV)/.dev needs ## Fail when a message costs more CPU than it may
	$(BIN)/python -m tests.benchmarks.gate

.PHONY: faults
faults: $(VENV)/.dev needs ## Run the fault tests in their full size
	FAULTS=full $(BIN)/python -m pytest tests/faults

.PHONY: lint
lint: $(VENV)/.dev ## Check style, types, the direction of imports, that asyncapi.yaml is fresh and the catalogues are whole
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/catalogues.py check
	$(BIN)/python -m service asyncapi | diff -u asyncapi.yaml - || { echo 'asyncapi.yaml is stale: make docs' >&2; exit 1; }

.PHONY: locales
locales: $(VENV)/.dev ## Extract the texts to translate, and update every catalogue
	$(BIN)/python .ci/catalogues.py update

.PHONY: docs
docs: $(VENV)/.runtime ## Write asyncapi.yaml from the code
	$(BIN)/python -m service asyncapi > asyncapi.yaml.new
	mv asyncapi.yaml.new asyncapi.yaml

.PHONY: pages
pages: $(PAGES)/index.js ## Fetch the scripts of the AsyncAPI page (needs npm)

.PHONY: lock
lock: $(VENV)/.dev ## Resolve the dependencies of pyproject.toml anew into the lock files
	$(BIN)/uv pip compile --quiet --upgrade $(COMPILE) --extra embedded --output-file requirements.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade $(COMPILE) --extra embedded --extra dev --constraint requirements.lock \
		--output-file requirements-dev.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade $(COMPILE) --extra bench --constraint requirements-dev.lock \
		--output-file requirements-bench.lock pyproject.toml

.PHONY: clean
clean: ## Remove everything that was made here, except the data of the embedded PostgreSQL
	rm -rf $(VENV) $(PAGES) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

COMPILE := --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo 'Python 3.11 or newer is needed; name it with PYTHON=…' >&2; exit 1; }
	@echo "Making the environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo 'On Debian: apt-get install python3-venv' >&2; exit 1; }

$(VENV)/.runtime: requirements.lock | $(BIN)/python
	@echo "Installing requirements.lock"
	@$(PIP) -r requirements.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock | $(BIN)/python
	@echo "Installing requirements-dev.lock"
	@$(PIP) -r requirements-dev.lock
	@touch $(VENV)/.runtime $@

$(VENV)/.bench: requirements-bench.lock $(VENV)/.dev
	@echo "Installing requirements-bench.lock"
	@$(PIP) -r requirements-bench.lock
	@touch $@

$(PAGES)/index.js: .ci/pages
	@echo "Fetching the scripts of the AsyncAPI page"
	@.ci/pages $(PAGES)

# Without npm or network the service works all the same; only that page then says what it lacks.
.PHONY: try-pages
try-pages:
	@test -e $(PAGES)/index.js || ! command -v npm >/dev/null || $(MAKE) --no-print-directory pages || true

.PHONY: needs
needs:
	@.ci/needs
