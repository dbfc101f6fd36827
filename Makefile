# The only commands anyone needs. Each sets up what it needs; the second time that costs nothing.
#
#   make setup   a virtual environment in .venv with everything that tests and the demo use
#   make demo    the whole loop on this machine, in minutes; writes heedful-demo/report.html
#   make test    all tests (as root, where apt-get is there, PostgreSQL and Redis are installed first)
#   make check   format, lint, types, import contracts
#   make bench   every promised figure, measured here, into docs/figures.md
#   make docs    the documentation, into site/

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
JOBS ?= 2
BIN := .venv/bin
READY := .venv/ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test check bench docs

help:
	@sed -n 's/^#   //p' Makefile

setup: $(READY)

# torch first and alone: it is then present in the build that is pinned when anything else asks for it.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Heedful needs Python 3.11 or newer; $(PYTHON) is older. Try: make setup PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,prod,otel,dev]'
	@touch $@

demo: setup
	$(BIN)/heedful demo

test: setup
	@scripts/test-services
	$(BIN)/python -m pytest -n $(JOBS)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m bench

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
