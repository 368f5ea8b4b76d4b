# `make demo` and `make test` install everything they need into .venv and then run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PLUGIN := build/plugin
SOURCES := CMakeLists.txt $(wildcard plugin/*/*.* plugin/include/*/*)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
UV := uv==0.13.9
QUICK := not slow and not network

# Python's files are compiled once, when first imported, and not anew in each process.
export PYTHONDONTWRITEBYTECODE :=
export CMAKE_BUILD_PARALLEL_LEVEL ?= 2
# Two workers fill two cores: threads of BLAS within each only wait for each other.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-all test-plugin test-sanitized lint coverage docs docs-check bench clean

# uv takes a quarter of pip's time; pip where uv does not get along with the index or the proxy.
$(STAMP): pyproject.toml setup.py requirements.txt $(SOURCES)
	$(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned packages into $(VENV) (about 7 GB with torch, a few minutes)..."
	$(PIP) $(UV) && $(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.txt \
	|| $(PIP) -r requirements.txt
	@echo "Building the C++ plugin and installing the package (about a minute)..."
	OPENMM_REPARAM_PLUGIN=require \
	$(PIP) --no-deps --editable .
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python examples/demo.py

# Style, spelling, types, and which package imports which.
lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

test-plugin: $(STAMP)
	$(BIN)/cmake -S . -B $(PLUGIN) -DBUILD_TESTING=ON -DPython_EXECUTABLE=$(abspath $(BIN)/python)
	$(BIN)/cmake --build $(PLUGIN)
	$(BIN)/ctest --test-dir $(PLUGIN) --output-on-failure

# The C++ core's tests where wrong addresses and undefined behaviour end a program.
test-sanitized: $(STAMP)
	$(BIN)/cmake -S . -B build/sanitized -DBUILD_TESTING=ON -DPython_EXECUTABLE=$(abspath $(BIN)/python) \
	  -DSANITIZE=ON -DPYTHON_MODULE=OFF -DTORCH_PLUGIN=OFF -DCMAKE_BUILD_TYPE=RelWithDebInfo
	$(BIN)/cmake --build build/sanitized
	$(BIN)/ctest --test-dir build/sanitized --output-on-failure

# The documentation anew, without running its notebooks; a warning is an error.
docs-check: $(STAMP)
	rm -rf docs/api/generated
	$(BIN)/python -m sphinx -E -W --keep-going -q -b html -D nb_execution_mode=off docs build/docs

# What takes one core runs two at a time; pytest takes both.
test: $(STAMP)
	$(MAKE) --jobs 2 test-plugin docs-check lint
	$(BIN)/pytest -n 2 -m "$(QUICK)"

# Everything: long searches, the tests that ask the Protein Data Bank, and sanitizers.
test-all: $(STAMP)
	$(MAKE) test-sanitized
	$(BIN)/pytest -n 2

coverage: $(STAMP)
	$(BIN)/pytest -n 2 -m "$(QUICK)" --cov --cov-report=term:skip-covered --cov-report=html:build/coverage

docs: $(STAMP)
	rm -rf docs/api/generated
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

bench: $(STAMP)
	$(BIN)/python -m benchmarks.local --coils --starts 2

clean:
	rm -rf $(VENV) build demo docs/_build docs/api/generated
