# Two commands do everything on a fresh machine with Python (3.10 to 3.13) and make:
#   make demo    the paper's whole sweep on the embedded demo, then its tables and its report
#   make test    the tests
PYTHON ?= python3
STORE ?= store
REPORT ?= report.html
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow test-outside lint bench clean

demo: $(VENV)/ready
	$(BIN)/python -m experiment experiment=paper launcher.workers=$(WORKERS) store=$(STORE)
	$(BIN)/python -m analysis table1 table2 betas --store $(STORE)
	$(BIN)/python -m analysis report --store $(STORE) --out $(REPORT)

test: $(VENV)/ready
	$(BIN)/python -m pytest -m "not (slow or browser or latex)"

test-slow: $(VENV)/ready
	$(BIN)/python -m pytest -m slow

# What needs more than Python: Debian's chromium; texlive-latex-recommended and texlive-fonts-recommended.
test-outside: $(VENV)/ready
	$(BIN)/python -m pytest -m "browser or latex"

lint: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/ready
	$(BIN)/python -m benchmarks.planning

# The environment is made again when what it should hold has changed. PIP_* variables reach pip: on a Linux machine
# without a GPU, PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu saves gigabytes of CUDA.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
