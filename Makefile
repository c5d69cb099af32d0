# Everything a contributor does. `make` alone lists it. Needs Python 3.11 or newer and make, nothing else.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PY     := $(BIN)/python
READY  := $(VENV)/.ready

# The newest torch the suite has been run with. On Linux its usual wheel brings several GB of CUDA libraries, so a machine
# without an NVIDIA driver takes the CPU build: from where pip is configured to look, else from PyTorch's own index.
# Another build, when the environment is made: make TORCH="torch --index-url https://download.pytorch.org/whl/cu130" test
TORCH_VERSION := 2.13.0
TORCH ?=

# One thread per process: the tensors of tests are small, and threads that outnumber the cores slow each other down.
TEST_ENV := OMP_NUM_THREADS=1 POLARS_MAX_THREADS=1
TEST     := $(TEST_ENV) $(PY) -m pytest -q -n auto --maxprocesses 4

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bad-input slow gpu bench table table-new-users study-kill study-postgres study-overhead benchmark-small clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-21s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## .venv with the package and its tools; the other targets call it

demo: $(READY) ## eight methods on the built-in data, one honest table, recommendations for every customer
	@$(PY) -m recsys.cli.demo

test: $(READY) ## the whole suite
	@$(TEST)

check: $(READY) ## before each commit, about a minute: format, lint, types, layers, tests
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@$(TEST_ENV) $(PY) -m pytest -q tests/test_layers.py tests/test_import.py tests/test_project.py
	@$(TEST) --exitfirst

format: $(READY) ## put every file into the house format
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

bad-input: $(READY) ## write docs/bad-input.md: every mistake and the message it gets
	@PYTHONPATH=tests/support:. $(PY) tests/cli/test_bad_input.py

slow: $(READY) ## the tests that take minutes
	@$(TEST_ENV) $(PY) -m pytest -m slow

gpu: $(READY) ## the tests that need a CUDA device, then its benchmark
	@CUBLAS_WORKSPACE_CONFIG=:4096:8 $(PY) -m pytest -q -m gpu
	@$(PY) benchmarks/gpu.py

bench: $(READY) ## speed and memory, measured here
	@$(PY) benchmarks/speed.py

table: $(READY) ## docs/tables/NAME.md from benchmarks/plans/NAME.toml: make table NAME=noise-small SET="key=value ..."; without NAME the README's table
	@if [ -n "$(NAME)" ]; then \
		$(TEST_ENV) $(PY) benchmarks/tables.py "$(NAME)" $(SET) --workers 2; \
	else \
		$(PY) benchmarks/readme_table.py; \
	fi

table-new-users: $(READY) ## users who are not in train: make table-new-users SET=data.ml-100k.data.path=u.data
	@$(TEST_ENV) $(PY) benchmarks/tables.py new-users $(SET) --workers 2

study-kill: $(READY) ## a study killed five times and resumed is the same study: make study-kill STEAM=users.dat
	@OMP_NUM_THREADS=1 $(PY) benchmarks/studies.py kill --path "$(STEAM)"

study-postgres: $(READY) ## four workers on PostgreSQL, killed again and again: is a trial lost?
	@$(TEST_ENV) $(PY) benchmarks/studies.py postgres

study-overhead: $(READY) ## what a trial costs besides training, from the first to the thousandth
	@$(TEST_ENV) $(PY) benchmarks/studies.py overhead

benchmark-small: $(READY) ## thirteen methods, three parts of the built-in data, three seeds; a table and a page in runs/benchmark-small/
	@$(PY) -m recsys.cli benchmark configs/benchmark-small.toml --workers 2 --out runs/benchmark-small
	@$(PY) -m recsys.cli report runs/benchmark-small --out runs/benchmark-small/page.html

clean: ## remove what tools leave behind; runs/ and .venv/ stay
	@rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@if ! $(PY) -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
			|| { echo 'recsys needs Python 3.11 or newer: make PYTHON=python3.12 ...' >&2; exit 1; }; \
		echo 'making $(VENV)'; \
		$(PYTHON) -m venv $(VENV); \
	fi
	@if [ -n "$(TORCH)" ]; then \
		echo 'installing $(TORCH)'; \
		$(PY) -m pip install --quiet $(TORCH); \
	elif ! $(PY) -c 'import torch' >/dev/null 2>&1; then \
		echo 'installing torch $(TORCH_VERSION) (the largest download)'; \
		cpu='torch==$(TORCH_VERSION)+cpu'; \
		{ ! command -v nvidia-smi >/dev/null 2>&1 && { \
			$(PY) -m pip install --quiet "$$cpu" 2>/dev/null \
			|| $(PY) -m pip install --quiet --retries 1 --extra-index-url https://download.pytorch.org/whl/cpu "$$cpu" 2>/dev/null; }; } \
		|| $(PY) -m pip install --quiet 'torch==$(TORCH_VERSION)'; \
	fi
	@echo 'installing recsys and its tools'
	@$(PY) -m pip install --quiet --editable '.[dev]'
	@touch $@
