# `make` alone prints what can be done. Every target sets up what it needs.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

##@ Use
.PHONY: help run
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(STAMP) ## Start an embedded PostgreSQL with the demo data, and serve (Ctrl-C stops all)
	@exec $(BIN)/usher dev $(ARGS)

##@ Check
.PHONY: setup test fast system attacks clients neon-scenarios bench bench-trial lint types check proto-check
setup: $(STAMP) ## Make the virtual environment from the lock

$(STAMP): deploy/lock/dev.txt pyproject.toml clients/python/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "usher needs Python 3.11 or later; set PYTHON=/path/to/python3.11")'
	@echo "usher: setting up $(VENV) (about half a minute, once)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) \
	  || { rm -rf $(VENV); echo "usher: no virtual environment could be made; on Debian: apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/lock/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e clients/python -e .
	@touch $(STAMP)

test: $(STAMP) ## Run all tests but the attack corpus and the bench's trial
	@$(BIN)/python -m tests.run $(ARGS)

fast: $(STAMP) ## Run the tests that need no process, database or toolchain
	@$(BIN)/python -m pytest tests/core tests/telemetry tests/test_house.py $(ARGS)

system: $(STAMP) ## Run only the tests on real processes
	@$(BIN)/python -m pytest tests/system $(ARGS)

attacks: $(STAMP) ## Run the attacks alone, on every PostgreSQL that is here; ends with a table of all cases
	@$(BIN)/python -m pytest tests/attacks -q $(ARGS)

neon-scenarios: $(STAMP) ## Run rotations, restarts and failures against the double of Neon's verifier; ends with a table
	@$(BIN)/python -m pytest tests/neon/test_scenarios.py tests/neon/test_sharing_scenarios.py -q $(ARGS)

clients: $(STAMP) ## Compare the clients of all languages that are here: scenarios, time, size (ARGS=--quick: no time)
	@$(BIN)/python -m tests.clients.scenarios $(ARGS)

bench: $(STAMP) ## Measure Usher beside its peers and ceilings (ARGS=--quick: some minutes; see bench/README.md)
	@$(BIN)/python -m bench.run $(ARGS)

bench-trial: $(STAMP) ## Run the bench once with few requests, to see that it runs
	@$(BIN)/python -m pytest tests/bench/test_run.py $(ARGS)

lint: $(STAMP) ## Check style, formatting and the order of imports
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports --no-cache

types: $(STAMP) ## Check types strictly
	@$(BIN)/mypy
	@$(BIN)/mypy -m bench.run -m bench.unguarded -m bench.peers.echo -m bench.peers.naive

check: lint types proto-check test attacks bench-trial ## All of the above, plus proto lint and generated-code drift

proto-check: $(STAMP) ## Lint the contract, check it for breaking changes and the stubs for drift
	@$(BIN)/python proto/tools/generate.py lint
	@$(BIN)/python proto/tools/generate.py check

##@ Change
.PHONY: fmt proto lock clean
fmt: $(STAMP) ## Format the code
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

proto: $(STAMP) ## Generate the stubs of every language
	@$(BIN)/python proto/tools/generate.py generate

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-package usher-client
lock: $(STAMP) ## Renew the locked dependencies
	@$(LOCK) --upgrade pyproject.toml -o deploy/lock/runtime.txt
	@$(LOCK) --upgrade pyproject.toml --extra dev-db --group dev -o deploy/lock/dev.txt
	@echo 'setuptools>=77' | $(LOCK) --upgrade - -o deploy/lock/build.txt

clean: ## Remove everything that was built or installed here (the demo database included)
	@if [ -L .usher/elsewhere ]; then rm -rf "$$(readlink .usher/elsewhere)"; fi
	@rm -rf $(VENV) .usher proto/.cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@rm -rf clients/typescript/node_modules clients/typescript/dist tests/neon/http/driver/node_modules
	@rm -rf clients/java/target clients/java/example/target clients/rust/target clients/rust/Cargo.lock
	@rm -rf bench/peers/hono/node_modules bench/peers/hono/build
