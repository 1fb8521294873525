# `make help` lists the targets. Nothing here asks a question or needs a terminal.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
LOCAL := $(VENV)/.stamp
# Another interpreter: make setup PYTHON=/usr/bin/python3.12
PYTHON ?= $(shell for each in python3.11 python3 python3.12 python3.13; do \
  "$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$each" && break; done)
# Wheels only: nothing is compiled and no stranger's setup.py runs. Where a wheel is missing: make setup BINARY=
BINARY ?= --only-binary :all:
PIP := PIP_USER=0 $(BIN)/python -m pip -qq --disable-pip-version-check --no-input install
PYTEST := $(BIN)/python -m pytest -q -rfEs
# make test TOOLS=no leaves the system as it is: what is not on PATH, its tests are skipped.
TOOLS ?= yes
# A release becomes known to be bad in its first days; what must be younger is named in LOCK_YOUNG.
LOCK_AGE ?= 7 days
LOCK_YOUNG ?= anthropic
# make lock UPGRADE=all | UPGRADE="aiohttp rich"; without it what is locked stays wherever it still fits.
UPGRADE ?=

.PHONY: help setup demo check test test-full bench tools lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(LOCAL)/run ## .venv with the locked dependencies and .venv/bin/responder
	@echo 'ready: $(BIN)/responder'

demo: $(LOCAL)/run ## one recorded outage through the real door; no key, no cluster; ends by itself
	@$(BIN)/responder demo

check: $(LOCAL)/dev ## format, lint, types and imports, in under a minute
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test: $(LOCAL)/dev tools ## all tests but the slow ones; says which were skipped, and why
	$(PYTEST) -m 'not slow'

test-full: $(LOCAL)/dev tools ## all tests, then the planted faults: each must be noticed by some test
	$(PYTEST)
	$(BIN)/python -m tests.mutants.run

bench: $(LOCAL)/dev ## measure intake, chains and the first message on this machine; ARGS="..." are handed on
	$(BIN)/python -m tests.bench $(ARGS)

clean: ## remove .venv, caches and builds; a database stays
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment -------------------------------------------------------------------------------------------------

# Debian's python3 comes without what `venv` needs; as root we install it, else we say what is missing.
define MAKE_VENV
[ -n "$$VENV_PYTHON" ] || { echo 'Python 3.11 or newer is needed. Name it: make setup PYTHON=/path/to/python3' >&2; exit 1; }
"$$VENV_PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
made=$$("$$VENV_PYTHON" -m venv --clear $(VENV) 2>&1) && exit 0
if [ "$$(id -u)" != 0 ] || ! [ -e /etc/debian_version ]; then
  echo "$$made" >&2
  echo "$$VENV_PYTHON cannot make a virtual environment. Debian and Ubuntu: sudo apt-get install python3-venv" >&2
  exit 1
fi
echo "$$VENV_PYTHON has no ensurepip: installing python3-venv"
export DEBIAN_FRONTEND=noninteractive
if ! said=$$({ apt-get -qq update && apt-get -qq install -y --no-install-recommends python3-venv; } 2>&1 < /dev/null); then
  echo "$$said" >&2
  exit 1
fi
"$$VENV_PYTHON" -m venv --clear $(VENV)
endef

$(LOCAL)/made: export MAKE_VENV_SH = $(MAKE_VENV)
$(LOCAL)/made: export VENV_PYTHON = $(PYTHON)
$(LOCAL)/made:
	@bash -eu -c "$$MAKE_VENV_SH"
	@mkdir -p $(LOCAL) && touch $@

$(LOCAL)/run: $(LOCAL)/made requirements.lock pyproject.toml
	$(PIP) --require-hashes $(BINARY) -r requirements.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(LOCAL)/dev: $(LOCAL)/run requirements-dev.lock
	$(PIP) --require-hashes $(BINARY) -r requirements-dev.lock
	@touch $@

# --- programs that some tests run ------------------------------------------------------------------------------------

# As root on Debian the missing ones are installed; their services are neither started now nor at the next boot.
define INSTALL_TOOLS
packages=()
missing=()
for each in prometheus:prometheus promtool:prometheus amtool:prometheus-alertmanager \
    prometheus-alertmanager:prometheus-alertmanager strace:strace; do
  command -v "$${each%%:*}" > /dev/null && continue
  missing+=("$${each%%:*}")
  [[ " $${packages[*]-} " == *" $${each##*:} "* ]] || packages+=("$${each##*:}")
done
[ $${#missing[@]} -gt 0 ] || exit 0
if [ "$$TOOLS" != yes ] || [ "$$(id -u)" != 0 ] || ! [ -e /etc/debian_version ]; then
  echo "not on PATH: $${missing[*]}; the tests that need them are skipped (Debian packages: $${packages[*]})"
  exit 0
fi
echo "installing $${packages[*]}"
policy=/usr/sbin/policy-rc.d
if ! [ -e "$$policy" ]; then
  trap 'rm -f "$$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' > "$$policy"
  chmod 755 "$$policy"
fi
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
if ! said=$$({ apt-get -qq update && apt-get -qq install -y --no-install-recommends "$${packages[@]}"; } 2>&1 < /dev/null); then
  echo "$$said" >&2
  echo "could not install $${packages[*]}; the tests that need them are skipped"
  exit 0
fi
if command -v systemctl > /dev/null; then
  for each in "$${packages[@]}"; do
    [ "$$each" = strace ] || systemctl disable --now "$$each" > /dev/null 2>&1 || true
  done
fi
endef

tools: export INSTALL_TOOLS_SH = $(INSTALL_TOOLS)
tools: export TOOLS := $(TOOLS)
tools:
	@bash -eu -c "$$INSTALL_TOOLS_SH"

# --- the locks -------------------------------------------------------------------------------------------------------

# requirements.lock: what runs, and what an editable install builds with. requirements-dev.lock: the same and the dev group.
define LOCK
uv=$$(command -v uv || command -v $(BIN)/uv) || { echo 'make lock needs uv on PATH' >&2; exit 1; }
flags=(--quiet --generate-hashes --no-header --no-annotate --python-version 3.11 --exclude-newer '$(LOCK_AGE)')
for each in $(LOCK_YOUNG); do flags+=(--exclude-newer-package "$$each=0 days"); done
for each in $(filter-out all,$(UPGRADE)); do flags+=(--upgrade-package "$$each"); done
$(if $(filter all,$(UPGRADE)),flags+=(--upgrade))
build="import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['build-system']['requires'], 'editables', sep='\n')"
$(BIN)/python -c "$$build" | "$$uv" pip compile "$${flags[@]}" pyproject.toml - -o requirements.lock > /dev/null
"$$uv" pip compile "$${flags[@]}" pyproject.toml --group dev --constraint requirements.lock -o requirements-dev.lock > /dev/null
if grep -n '://' requirements.lock requirements-dev.lock; then echo 'a lock names an address' >&2; exit 1; fi
endef

lock: export LOCK_SH = $(LOCK)
lock: $(LOCAL)/made ## write both lock files anew from pyproject.toml (needs uv)
	@bash -eu -o pipefail -c "$$LOCK_SH"
