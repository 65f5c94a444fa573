# Two commands do all the set-up: `make demo` runs the main job, `make test` passes the tests.
# The environment lives in .venv; PYTHON chooses the interpreter (3.10 to 3.13).

SHELL := /bin/bash
PYTHON ?= $(shell for v in python3 python3.13 python3.12 python3.11 python3.10; do \
	command -v $$v >/dev/null && $$v -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
	&& { echo $$v; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
# So many processes run the tests; more than there are cores starve those that keep time.
JOBS ?= 2
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench soak fuzz sbom audit system-packages wheel install uninstall clean

help:  ## Show what can be made
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo  ## Run the whole thing on rendered street scenes (ARGS="--seconds 20 --cameras 2 --json")
	$(BIN)/edge-app demo $(ARGS)

test: $(VENV)/.dev system-packages check  ## Check the code and run every test this machine can run (JOBS=2)
	PYTHONHASHSEED=0 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.dev  ## Lint, formatting, types, import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config pyproject.toml

format: $(VENV)/.dev  ## Format the code and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

soak: $(VENV)/.dev system-packages  ## The fault suite in its long form (half an hour); HOURS=1: the daemon under faults for so long
ifdef HOURS
	$(BIN)/python -m tests.soak run --hours $(HOURS) build/soak-$$(date +%Y%m%d-%H%M%S) $(ARGS)
else
	EDGE_APP_FAULTS=long $(VENV)/bin/python -m pytest tests/faults tests/soak -o log_cli=true --log-cli-level=INFO
endif

fuzz: $(VENV)/.dev  ## Give the readers of foreign bytes what they do not expect (SECONDS=600)
	$(BIN)/python -m tests.fuzz $(or $(SECONDS),600) $(ARGS)

sbom: $(VENV)/.dev  ## Write the software bill of materials (CycloneDX) to build/sbom.cdx.json
	$(BIN)/python scripts/sbom build/sbom.cdx.json

audit: $(VENV)/.dev  ## Look for known vulnerabilities of what edge-app is installed with
	$(BIN)/python scripts/audit

wheel: $(VENV)/.dev  ## Build the wheel and test it installed, away from this checkout
	scripts/test-wheel $(BIN)/python

install:  ## As a service of this machine, or as its next version (sudo; CSI=1 for CSI cameras)
	scripts/install

uninstall:  ## Take the service away again (sudo; KEEP="config state" is what stays, KEEP= nothing)
	scripts/uninstall

system-packages:  ## Install what the tests use of the system: Mosquitto, an RTSP server, GStreamer (Debian, Ubuntu)
	scripts/system-packages

clean:  ## Remove what was made
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.10 to 3.13 is needed: apt install python3 python3-venv"; exit 1; fi
	scripts/make-venv "$(PYTHON)" $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,builder-test]'
	@touch $@ $(VENV)/.demo
