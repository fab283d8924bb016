# `make` runs the embedded study, `make test` passes every test; both set up .venv first, each with what it needs.
PYTHON ?= python3
STUDY ?= config/config.yaml
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: study setup setup-all test soak faults families coverage engines docs lint format lock clean gpu

study: setup
	snakemake --cores all --configfile $(STUDY)
	@echo "The results are on the page reports/index.html"

# What a study needs (study.lock), and what the tests, the docs and all other extras add (requirements.lock).
setup: .venv/study
setup-all: .venv/all

# torch comes first and by itself: its wheel differs by machine (CPU, CUDA), so the locks hold all but it.
.venv/study: envs/study.lock envs/torch.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lm-steer needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement envs/torch.txt
	$(BIN)/pip install --quiet --no-deps --require-hashes --requirement envs/study.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

.venv/all: .venv/study envs/requirements.lock
	$(BIN)/pip install --quiet --no-deps --require-hashes --requirement envs/requirements.lock
	touch $@

# What the site and its notebooks need besides, 50 packages that no test of `make test` asks for.
.venv/docs: .venv/study envs/docs.lock
	$(BIN)/pip install --quiet --no-deps --require-hashes --requirement envs/docs.lock
	touch $@

# A file of tests goes to one worker, for the tests of a file share what takes long to make.
test: setup-all lint
	pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

soak: setup-all .venv/docs
	pytest -m soak

# Causes every fault of the table for real, and writes the table.
faults: setup-all
	LM_STEER_FAULT_TABLE=workflow/docs/faults.md pytest -m "soak or not soak" tests/faults

# Runs every type of model that transformers knows, and writes the table.
families: setup-all
	LM_STEER_FAMILY_TABLE=workflow/docs/families.md pytest -m soak tests/test_families.py

# Steers in a real vLLM and llama.cpp, each set up in an environment of its own (some minutes), and writes the table.
engines: setup-all .engines/vllm .engines/llamacpp
	LM_STEER_ENGINE_TABLE=workflow/docs/engines.md pytest -m soak -s tests/engines

.engines/%:
	PYTHON=$(PYTHON) tests/engines/setup_$*.sh $@ || (rm -rf $@; false)

# Simulates studies whose truth is known, and says how often intervals hold it: the table of workflow/docs/intervals.md.
coverage: setup-all
	python tests/simulated.py

# Tests and measures a GPU with PYTHON as it is, which needs torch, transformers and pytest; installs nothing.
gpu:
	$(PYTHON) workflow/scripts/gpu.py

# The pages that are written from the code, and the site, build/site/index.html: a broken link is an error.
docs: .venv/docs
	python workflow/scripts/config_readme.py
	python workflow/scripts/address.py
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

lint: setup-all
	ruff check lm_steer tests workflow
	ruff format --check lm_steer tests workflow
	snakefmt --check Snakefile workflow
	lint-imports
	snakemake --lint
	mypy

format: setup-all
	ruff check --fix lm_steer tests workflow
	ruff format lm_steer tests workflow
	snakefmt Snakefile workflow

COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --quiet \
  --constraint envs/torch.txt

# Every extra but vllm, which has an environment of its own, and docs, whose lock holds what study.lock does not.
LOCKED := study workflow peft demo harness dev

# Needs uv (https://docs.astral.sh/uv) on the PATH.
lock:
	$(COMPILE) $(addprefix --extra ,$(LOCKED)) --output-file envs/requirements.lock
	$(COMPILE) --extra study --extra workflow --constraint envs/requirements.lock --output-file envs/study.lock
	$(COMPILE) --extra docs --constraint envs/requirements.lock --output-file envs/docs.lock \
	  $$(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package \1/p' envs/study.lock)
	$(PYTHON) workflow/scripts/conda_file.py

clean:
	rm -rf .venv results/* reports/* .snakemake
