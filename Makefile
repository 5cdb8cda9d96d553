# Everything a clone needs. `make help` lists the targets.
#
#   PYTHON=python3.12   which Python makes .venv (3.11 or newer)
#   TORCH_INDEX=URL     where torch comes from, such as PyTorch's index of CPU builds (smaller by gigabytes)
#   ARGS="seed=1 …"     settings for `make run`
#   TESTS="tests/cli"   what `make test` runs

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
ARGS ?=
TESTS ?= tests

BIN := $(VENV)/bin
SOURCES := swarm scenarios tests benchmarks examples docs run_swarm.py
PIP := PIP_CONSTRAINT="$(CURDIR)/constraints.txt" PIP_BUILD_CONSTRAINT="$(CURDIR)/constraints.txt" PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

# Every process would compile all modules that it imports, where somebody's environment forbids to write bytecode.
unexport PYTHONDONTWRITEBYTECODE

# A stamp is older than these files exactly when an installation is out of date.
STATED := pyproject.toml constraints.txt
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | while IFS=$$'\t' read -r name text; do printf '  make %-8s %s\n' "$$name" "$$text"; done

.PHONY: run
run: $(INSTALLED)  ## set up .venv if needed and run the default scenario; ARGS="devices=50 seed=1" changes it
	@$(BIN)/python run_swarm.py $(ARGS)

.PHONY: test
test: lint  ## set up .venv if needed, then ruff, the type checker and the whole test suite
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist worksteal $(TESTS)

.PHONY: lint
lint: $(INSTALLED_DEV)  ## ruff and the type checker
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

.PHONY: docs
docs: $(INSTALLED_DEV)  ## build the documentation into build/site; a dead link or a docstring that cannot be read fails
	NO_MKDOCS_2_WARNING=1 $(ONE_THREAD) $(BIN)/mkdocs build --config-file docs/site/mkdocs.yml

.PHONY: format
format: $(INSTALLED_DEV)  ## let ruff lay out the code and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: bench
bench: $(INSTALLED_DEV)  ## speed against a plain loop, one thread
	$(ONE_THREAD) $(BIN)/python benchmarks/throughput.py $(ARGS)

.PHONY: claims
claims: $(INSTALLED)  ## judge every claim (some eight hours on two cores; goes on where it was interrupted) and write docs/claims
	@if [ -e outputs/claims/config.yaml ]; then $(BIN)/python run_swarm.py resume=outputs/claims; \
		else $(BIN)/python run_swarm.py scenario=all preset=full hydra.run.dir=outputs/claims; fi
	@$(BIN)/python run_swarm.py publish outputs/claims

.PHONY: install
install: $(INSTALLED_DEV)  ## set up .venv with the tools for development

.PHONY: clean
clean:  ## remove .venv and whatever tools left behind (runs in outputs/ stay)
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find swarm scenarios tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "error: PYTHON=$(PYTHON) must be Python 3.11 or newer; name another: make PYTHON=python3.12 …" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "error: $(PYTHON) cannot make a virtual environment (Debian: apt install python3-venv)" >&2; exit 2; }

# Modules are compiled as they are first imported, which most of those that are installed never are.
define install
	@if [ -n "$(TORCH_INDEX)" ]; then $(PIP) install --quiet --no-compile --no-deps --index-url "$(TORCH_INDEX)" torch; fi
	@$(PIP) install --quiet --no-compile -e '$(1)'
endef

$(INSTALLED): $(STATED) | $(BIN)/python
	@echo "installing the tested versions into $(VENV) …"
	$(call install,.)
	@touch $@

# All at once, unless a target of this command has only what a run needs: two pips must not meet in one folder.
$(INSTALLED_DEV): $(STATED) | $(if $(filter run claims,$(MAKECMDGOALS)),$(INSTALLED),$(BIN)/python)
	@echo "installing the tested versions and the development tools into $(VENV) …"
	$(call install,.[dev])
	@touch $(INSTALLED) $@
