# Two commands matter: `make demo` and `make test`. Each sets up what it needs into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
READY := $(VENV)/.ready

.PHONY: demo test setup format lint types imports unit pulumi fit accuracy bench schema docs clean help

help:            ## print the commands
	@sed -n 's/^\([a-z]*\): .*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|'

demo: $(READY)   ## compile stacks/prod, print the review, write the GitOps tree to build/gitops/prod
	$(BIN)/fleetc compile stacks/prod
	$(BIN)/fleetc render stacks/prod --out build/gitops/prod

test: $(READY) format lint types imports unit   ## format, lint, types, import contracts and all tests

setup: $(READY)  ## make .venv with everything in it

$(READY): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fleetc needs Python 3.11 or newer: make PYTHON=python3.12 …" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(UV) sync --locked --extra silicon --quiet
	@touch $(READY)

format: $(READY)
	$(BIN)/ruff format --check .

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

unit: $(READY)
	$(BIN)/pytest

pulumi:          ## build the stock Pulumi CLI for the tests (11 minutes when nothing is cached; needs Go)
	tools/build-pulumi.sh

fit: $(READY)    ## fit the calibrated performance model again
	$(BIN)/python tools/fit_calibrated.py

accuracy: $(READY) ## cross-validated errors, error bars and decisions: tables and plots of docs/explanation/accuracy.md
	$(BIN)/python bench/accuracy/run.py

bench: $(READY)  ## benchmarks: compile time by stage, solve time and gap; estimates a second
	$(BIN)/python bench/bench_compile.py
	$(BIN)/python bench/bench_estimate.py

schema: $(READY) ## write the JSON Schemas of docs/reference again
	$(BIN)/fleetc schema spec > docs/reference/fleet.schema.json
	$(BIN)/fleetc schema plan > docs/reference/plan.schema.json

docs: $(READY)   ## write the generated parts of the documentation again
	$(BIN)/python docs/generate.py

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
