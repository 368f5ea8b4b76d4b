# `make demo` and `make test` install everything they need into .venv and then run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint bench clean

$(STAMP): pyproject.toml setup.py requirements.txt
	$(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned packages into $(VENV) (about 7 GB with torch, a few minutes)..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/openmm-reparam fold 2JOF --compare --plot demo/2jof.png -o demo/2jof.pdb

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest -n 2

bench: $(STAMP)
	$(BIN)/python benchmarks/minimize.py

clean:
	rm -rf $(VENV) demo
