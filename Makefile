# Every target uses .venv, which `make env` creates from any Python >= 3.11 with venv and pip.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.nbflow-env
# Two workers: one runs while the other waits for a server. More workers only compete for the cores.
WORKERS ?= 2
SOAK_MINUTES ?= 10

.DEFAULT_GOAL := help
.PHONY: help env demo test lint unit newer docs bench soak lab clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(STAMP) ## Create .venv with all that nbflow and its tests need

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "nbflow needs Python 3.11 or newer: make env PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all,test]'
	@touch $@

demo: env ## Run the quickstart notebook: backfill a month of real data, write a report
	$(BIN)/python notebooks/run_demo.py

test: lint unit ## Lint, types, import contracts and all tests

lint: env ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: env ## Only the tests (ARGS="tests/leaf -x")
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

newer: ## The demo and the tests with threads and kernels on another Python: make newer NEWER=/path/to/python
	@test -x .venv-newer/bin/python || $(NEWER) -m venv .venv-newer
	.venv-newer/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[all,test]'
	.venv-newer/bin/python notebooks/run_demo.py
	.venv-newer/bin/python -m pytest -n $(WORKERS) --dist loadfile tests/notebook tests/notebooks tests/live tests/store/test_sqlite.py $(ARGS)

docs: env ## Update the generated parts of the README
	$(BIN)/python docs/generate_readme.py

bench: env ## Run the benchmarks and print the table
	$(BIN)/python -m bench $(ARGS)

soak: env ## Randomised tests for SOAK_MINUTES; a failure prints its seed
	HYPOTHESIS_PROFILE=soak NBFLOW_SOAK_MINUTES=$(SOAK_MINUTES) $(BIN)/python -m pytest -m soak --timeout 0 $(ARGS)

lab: env ## Run JupyterLab and a scheduler
	$(BIN)/nbflow lab

clean: ## Remove the caches and builds of the tools (not .venv)
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
