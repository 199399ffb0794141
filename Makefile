# One vocabulary for people, hooks and CI: demo, test, check, docs, up, bench.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.stamp-run
DEV_STAMP := $(VENV)/.stamp-dev
BENCH_STAMP := $(VENV)/.stamp-bench
DOCS_STAMP := $(VENV)/.stamp-docs
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Compiled modules and rewritten tests are kept, or every process of the tests makes them again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-fast check docs up bench clean

demo: $(RUN_STAMP)
	$(BIN)/platform demo

up: $(RUN_STAMP)
	$(BIN)/platform up

test: $(DEV_STAMP)
	$(BIN)/python -m pytest -n 3 --dist worksteal

test-fast: $(DEV_STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" tests/unit tests/integration

check: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/unit/project

docs: $(DOCS_STAMP)
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html; with search: $(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site"

bench: $(BENCH_STAMP)
	for name in durability early latency recogniser strings letters training loop startup monitoring driftgym detection_delay guarantees serving shadowing robustness distillation fuzz hostile files_visited columns tabular flights cheques employment pages rare_classes; do $(BIN)/python -m benchmarks.$$name || exit 1; done

clean:
	rm -rf var build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): pyproject.toml constraints.txt | $(VENV)/bin/python
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable .
	touch $@

$(DEV_STAMP): pyproject.toml constraints.txt | $(VENV)/bin/python
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(RUN_STAMP)

$(BENCH_STAMP): $(DEV_STAMP)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[dev,bench]'
	touch $@

$(DOCS_STAMP): $(DEV_STAMP)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[dev,docs]'
	touch $@
