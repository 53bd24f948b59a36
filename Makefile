# `make demo` and `make test` do all their own set-up: a virtual environment in .venv, built once.
PYTHON ?= python3.11
VENV := .venv
STAMP := $(VENV)/.installed

.PHONY: setup demo test lint clean

setup: $(STAMP)

$(STAMP): setup.cfg setup.py pyproject.toml constraints.txt $(wildcard infers/native/*.c infers/native/*.h)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,dev]'
	touch $(STAMP)

demo: setup
	$(VENV)/bin/lungapp demo $(ARGS)

test: setup
	.ci/services
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info
