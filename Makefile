# `make demo` and `make test` do all their own set-up: each makes a virtual environment, installs scgroove with pinned
# versions, and runs. PYTHON chooses the interpreter, and with it the version set: `PYTHON=python3.12 make test`.

PYTHON ?= python3
DEMO_OUT ?= demo-output
# The tests are many and each uses one thread: as many processes as the machine has cores.
PYTEST_ARGS ?= -n logical --dist worksteal

.DEFAULT_GOAL := help
TUTORIALS := $(wildcard tutorials/*.ipynb)

.PHONY: help demo test test-slow test-lowest properties coverage lint docs notebooks $(TUTORIALS) wheel clean

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests, demo and tutorials train networks so small that a second thread costs more than it gives.
export OMP_NUM_THREADS ?= 1

# ------------------------------------------------------------------------------------------ the interpreter
# PY_INFO is "MAJOR.MINOR FULL /path/to/python"; empty if there is no such interpreter. A pyenv shim of a version that is
# installed but not active fails when called: then the newest such version is asked for by name.

ifneq ($(filter-out help clean,$(MAKECMDGOALS)),)

ASK := import sys, platform as p; print("%d.%d" % sys.version_info[:2], p.python_version(), sys.executable)
PY_INFO := $(shell $(PYTHON) -c '$(ASK)' 2>/dev/null)

ifeq ($(PY_INFO),)
PYENV_FOUND := $(shell pyenv versions --bare 2>/dev/null | grep '^$(patsubst python%,%,$(PYTHON))\.' | tail -n 1)
ifneq ($(PYENV_FOUND),)
PY_INFO := $(shell PYENV_VERSION=$(PYENV_FOUND) $(PYTHON) -c '$(ASK)' 2>/dev/null)
endif
endif

ifeq ($(PY_INFO),)
$(error "$(PYTHON)" does not run. Give a Python of version 3.11 or newer by name or by path, as in: PYTHON=/usr/bin/python3.12 make $(MAKECMDGOALS))
endif

PY_SERIES := $(word 1,$(PY_INFO))
PY_FULL := $(word 2,$(PY_INFO))
PY := $(wordlist 3,99,$(PY_INFO))

ifneq ($(filter 2.% 3.0 3.1 3.2 3.3 3.4 3.5 3.6 3.7 3.8 3.9 3.10,$(PY_SERIES)),)
$(error scgroove needs Python 3.11 or newer, and "$(PYTHON)" is $(PY_FULL). Name another one, as in: PYTHON=python3.12 make $(MAKECMDGOALS))
endif

ifeq ($(PY_SERIES),3.11)
CONSTRAINTS := constraints/py311.txt
else
CONSTRAINTS := constraints/py312.txt
endif

endif

# ---------------------------------------------------------------------------------------- the environments
# .venv belongs to python3; any other PYTHON has its own, so that `make test` and `PYTHON=python3.12 make test` live side
# by side. The stamp carries the Python version: without a stamp of this version, or if the environment does not run from
# this folder (a moved or copied checkout), it is made anew; if pyproject.toml or the pins changed, it is brought up to date.

VENV := $(if $(filter python3,$(PYTHON)),.venv,.venv-$(PY_SERIES))
STAMP := $(VENV)/.installed-$(PY_FULL)

runs_here = $(shell $(1)/bin/python -c "" 2>/dev/null && grep -qsF '$(CURDIR)/$(1)/' $(1)/bin/pip && echo yes)

# $(call install,ENVIRONMENT,EXTRAS)
define install
@if [ ! -e $@ ] || [ "$(call runs_here,$(1))" != yes ]; then \
  echo "Making $(1) with Python $(PY_FULL) ($(PY))"; \
  rm -rf $(1) && "$(PY)" -m venv $(1) \
    || { echo "\"$(PY) -m venv\" failed; on Debian and Ubuntu, install the package python3-venv." >&2; exit 1; }; \
fi
@echo "Installing scgroove[$(2)] and the versions of $(CONSTRAINTS) into $(1): some minutes the first time"
@$(1)/bin/python -m pip install --quiet --editable '.[$(2)]' --constraint $(CONSTRAINTS)
@touch $@
endef

LOWEST := .venv-lowest
STAMP_LOWEST := $(LOWEST)/.installed-$(PY_FULL)

.PHONY: rebuild
$(STAMP): pyproject.toml $(CONSTRAINTS) $(if $(call runs_here,$(VENV)),,rebuild)
	$(call install,$(VENV),test$(comma)dev$(comma)docs)

$(STAMP_LOWEST): CONSTRAINTS := constraints/lowest.txt
$(STAMP_LOWEST): pyproject.toml constraints/lowest.txt $(if $(call runs_here,$(LOWEST)),,rebuild)
	$(call install,$(LOWEST),test)

comma := ,

# --------------------------------------------------------------------------------------------- the commands

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile
	@echo "  PYTHON=python3.12 make test runs the same with another interpreter and the newest version set."

demo: $(STAMP) ## simulate a screen, train, align, impute, and write a report
	$(VENV)/bin/scgroove demo --out $(DEMO_OUT)
	@echo "The report: $(abspath $(DEMO_OUT))/report.html"

test: $(STAMP) ## run the test suite, without the tests that are marked slow
	$(VENV)/bin/python -m pytest -m "not slow" $(PYTEST_ARGS)

test-slow: $(STAMP) ## run the tests that are marked slow
	$(VENV)/bin/python -m pytest -m slow $(PYTEST_ARGS)

test-lowest: $(STAMP_LOWEST) ## test on the lowest versions that pyproject.toml admits (Python 3.11; TESTS=... for some)
	$(LOWEST)/bin/python -m pytest -m "not slow" $(TESTS) $(PYTEST_ARGS)

properties: $(STAMP) ## run 20,000 new examples of the properties that hold for every screen
	SCGROOVE_EXAMPLES=1200 $(VENV)/bin/python -m pytest tests/properties $(PYTEST_ARGS)

coverage: $(STAMP) ## run the test suite and list the lines that no test reached
	$(VENV)/bin/python -m pytest --cov --cov-report=term $(PYTEST_ARGS)

lint: $(STAMP) ## ruff, mypy and the import contracts
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo

docs: $(STAMP) ## build the documentation; any warning is an error
	$(VENV)/bin/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "The documentation: $(CURDIR)/docs/_build/html/index.html"

notebooks: $(TUTORIALS) ## execute the tutorials, without changing them (-j 2: two at a time)

$(TUTORIALS): $(STAMP)
	$(VENV)/bin/jupyter execute --kernel_name=python3 --timeout=600 $@


wheel: $(STAMP) ## build the wheel
	$(VENV)/bin/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## remove the environments and what was built
	rm -rf .venv .venv-* dist docs/_build docs/api demo-output .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
