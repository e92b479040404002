# Two commands do everything on a fresh machine with Python (3.10 to 3.13) and make:
#   make demo    the paper's whole sweep on the embedded demo, then its tables and its report
#   make test    the tests
PYTHON ?= python3
STORE ?= store
REPORT ?= report.html
WORKERS ?= 2
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slurm test-slow test-outside lint bench clean

demo: $(VENV)/ready
	$(BIN)/python -m experiment experiment=paper launcher.workers=$(WORKERS) store=$(STORE)
	$(BIN)/python -m analysis table1 table2 betas --store $(STORE)
	$(BIN)/python -m analysis report --store $(STORE) --out $(REPORT)

# JOBS files of tests at a time; JOBS=0 runs all in one process.
PARALLEL = --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

test: $(VENV)/ready-dev
	$(BIN)/python -m pytest $(PARALLEL) -m "not (slow or slurm or browser or latex)"

# On a real cluster; tests/slurm/cluster-up.sh starts one on this machine.
test-slurm: $(VENV)/ready-dev
	$(BIN)/python -m pytest -m slurm

test-slow: $(VENV)/ready-dev
	$(BIN)/python -m pytest -m "slow and not slurm"

# What needs more than Python: Debian's chromium; texlive-latex-recommended and texlive-fonts-recommended.
test-outside: $(VENV)/ready-dev
	$(BIN)/python -m pytest -m "browser or latex"

lint: $(VENV)/ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/ready-dev
	$(BIN)/python -m benchmarks.planning

# The environment is made again when what it should hold has changed. PIP_* variables reach pip: on a Linux machine
# without a GPU, PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu saves gigabytes of CUDA.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

# The demo does without these. DeepSpeed comes as source. It is built apart from the environment (--use-pep517, which
# older pips do not do by themselves), where it does not see torch: so it neither fetches a second torch nor asks for
# CUDA's compiler. What a training needs it compiles when that starts (needs g++).
$(VENV)/ready-dev: $(VENV)/ready
	DS_BUILD_OPS=0 $(PIP) --use-pep517 -e ".[dev,wandb,deepspeed]"
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
