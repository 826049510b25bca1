# Every task of the project, one word each: `make help` lists them. What a task needs is installed on first use and again
# when pyproject.toml changes, into virtual environments inside this folder.

HOST = 127.0.0.1
PORT = 8000
# More arguments for pytest: make test ARGS="-k tanh -x"
ARGS =

# The first interpreter on the path that is new enough, the system's default before others.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14 python; do \
  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$python" && break; done)

RUN = .venv/bin/python -m
RUN_CONFORMANCE = .venv-conformance/bin/python -m
RUN_FUZZ = .venv-fuzz/bin/python -m
RUN_BENCH = .venv-bench/bin/python -m
PIP_INSTALL = pip install --quiet --disable-pip-version-check --editable
PYTEST = pytest $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help run test lint format conformance examples browser clients containers startup postgres scale fuzz steps soak bench clean
# One installation at a time: two of them in one environment trip over each other.
.NOTPARALLEL:
.DELETE_ON_ERROR:

help: ## list the tasks
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: .venv/.run ## serve on 127.0.0.1:8000 (PORT=9000 for another port)
	@exec $(RUN) app serve --host $(HOST) --port $(PORT)

test: .venv/.dev ## run the tests (ARGS="-k tanh -x" for pytest)
	$(RUN) $(PYTEST) -n auto

lint: .venv/.dev ## check format, rules, types and imports
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	.venv/bin/lint-imports --no-logo

format: .venv/.dev ## format the code and mend what can be mended
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

conformance: .venv-conformance/.installed ## compare the ops with PyTorch
	$(RUN_CONFORMANCE) $(PYTEST) -n auto -m conformance tests/conformance

examples: .venv/.dev .venv/.examples ## run the examples
	$(RUN) $(PYTEST) -m examples

browser: .venv/.dev .venv/.browser ## drive the documentation page in Chromium
	$(RUN) $(PYTEST) -m browser tests/browser

clients: .venv/.dev .venv/.clients ## generate clients from the API's description, compile and run them
	$(RUN) $(PYTEST) -m clients tests/clients

containers: .venv/.dev ## build and run the image (CONTAINERS=podman for another runner than docker)
	$(RUN) $(PYTEST) -m containers tests/containers

startup: .venv/.dev ## clone the repository and start it as a newcomer would
	$(RUN) $(PYTEST) -m startup tests/promises

postgres: .venv/.dev ## keep registered graphs in PostgreSQL, on a server that is made for the tests
	$(RUN) $(PYTEST) -m postgres tests/app

scale: .venv/.dev ## run replicas behind nginx, with registered graphs in PostgreSQL
	$(RUN) $(PYTEST) -m scale tests/scale

steps: .venv/.dev ## search for requests that hold the event loop (SEARCH_S: seconds for each endpoint)
	$(RUN) $(PYTEST) -m steps tests/promises/test_longest_step.py

fuzz: .venv-fuzz/.installed ## send random input (CASES, SECONDS, SEQUENCES, REQUESTS, REJECTS: how much)
	$(RUN_FUZZ) $(PYTEST) -m fuzz tests/fuzz

soak: .venv/.dev ## load a server for 20 minutes while its workers are killed (ARGS="--minutes 1" for less)
	$(RUN) tests.promises.soak $(ARGS)

bench: .venv/.run .venv-bench/.installed ## measure gradd beside other libraries (ARGS="--only mlp,lenet" for some)
	$(RUN_BENCH) benchmarks $(ARGS)

clean: ## remove environments, caches and build results
	rm -rf .venv .venv-conformance .venv-fuzz .venv-bench build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A venv that lacks pip was cut off while it was made, or made without python3-venv: it is made again.
.venv/bin/pip .venv-conformance/bin/pip .venv-fuzz/bin/pip .venv-bench/bin/pip:
	@test -n "$(PYTHON)" || { \
	  echo "gradd needs Python 3.11 or newer, and none is on the path." >&2; \
	  echo "Install one, or name it: make run PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "gradd needs Python 3.11 or newer; $(PYTHON) is not." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: its venv module is not installed." >&2; \
	  echo "On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(@:/bin/pip=)

.venv/.run: pyproject.toml | .venv/bin/pip
	@echo "Installing into .venv, the first time only (this may take a minute)"
	@$(RUN) $(PIP_INSTALL) .
	@touch $@

.venv/.dev .venv/.examples .venv/.browser .venv/.clients: pyproject.toml | .venv/bin/pip
	$(RUN) $(PIP_INSTALL) '.[$(subst .,,$(notdir $@))]'
	@touch $@

.venv-conformance/.installed: pyproject.toml | .venv-conformance/bin/pip
	$(RUN_CONFORMANCE) $(PIP_INSTALL) '.[conformance]'
	@touch $@

.venv-fuzz/.installed: pyproject.toml | .venv-fuzz/bin/pip
	$(RUN_FUZZ) $(PIP_INSTALL) '.[fuzz]'
	@touch $@

.venv-bench/.installed: pyproject.toml | .venv-bench/bin/pip
	$(RUN_BENCH) $(PIP_INSTALL) '.[bench]'
	@touch $@
