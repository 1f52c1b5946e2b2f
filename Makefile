# make quickstart   install, then encode and decode the example sound
# make test         install, then every check and test
# make check        ruff and mypy alone
# make clean        remove everything that was made
#
# PYTHON=... chooses the interpreter (3.11 or later), JOBS=... the number of test processes. PyPI's torch for Linux
# comes with CUDA; for the smaller one without: make PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= $(shell command -v python3.11 || command -v python3 || command -v python)
PIP_FLAGS ?=
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test check types clean

quickstart: $(VENV)/.run-installed
	$(BIN)/python examples/quickstart.py

# One thread each: the processes share the cores.
test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)

check: $(VENV)/.test-installed types
	$(BIN)/ruff check .

# mypy finds packages by folders and knows nothing of package-dir, so it is shown the tree of an installation, in links.
types: $(VENV)/.test-installed
	rm -rf build/types
	mkdir -p build/types/specvq_codec
	ln -s "$(CURDIR)"/specvq_codec/* "$(CURDIR)"/bitstream "$(CURDIR)"/weights build/types/specvq_codec/
	cd build/types && "$(CURDIR)/$(BIN)/mypy" --config-file "$(CURDIR)/pyproject.toml" -p specvq_codec

# The environment is made once. A stamp file each for running and for testing renews the installation when the
# dependencies change; the code itself is installed as links, and needs no renewal.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run-installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install $(PIP_FLAGS) --constraint constraints.txt --editable .
	touch $@

# PESQ has to be compiled: where that fails, its tests are skipped, and say so.
$(VENV)/.test-installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install $(PIP_FLAGS) --constraint constraints.txt --editable ".[test]"
	-$(BIN)/python -m pip install $(PIP_FLAGS) --constraint constraints.txt pesq
	touch $@

clean:
	rm -rf $(VENV) build out *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
