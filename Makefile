# Everything works from a machine with Python 3.11 and make: `make quickstart`, `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: quickstart test reproduce lint install
.DEFAULT_GOAL := quickstart

quickstart: .venv/installed  ## A real benchmark on the embedded digits: tables and figures in results/quickstart/
	.venv/bin/xaibench run experiment=quickstart

test: .venv/installed  ## All tests but the slow ones (`.venv/bin/pytest -m slow`)
	.venv/bin/pytest -n auto --dist worksteal

reproduce: .venv/installed  ## The smallest study from nothing, each number beside the committed one
	.venv/bin/xaibench reproduce quickstart --fresh

lint: .venv/installed  ## Style and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --no-deps --requirement requirements.lock
	.venv/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
