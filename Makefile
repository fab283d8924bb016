# `make` runs the embedded study, `make test` passes every test; both set up .venv from the lock first.
PYTHON ?= python3
STUDY ?= config/config.yaml
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: study setup test soak faults families docs lint format lock clean

study: setup
	snakemake --cores all --configfile $(STUDY)
	@echo "The results are on the page reports/index.html"

setup: .venv/installed

# torch comes first and by itself: its wheel differs by machine (CPU, CUDA), so the lock holds all but it.
.venv/installed: envs/requirements.lock envs/torch.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lm-steer needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement envs/torch.txt
	$(BIN)/pip install --quiet --no-deps --require-hashes --requirement envs/requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

test: setup lint
	pytest

soak: setup
	pytest -m soak

# Causes every fault of the table for real, and writes the table.
faults: setup
	LM_STEER_FAULT_TABLE=workflow/docs/faults.md pytest -m "soak or not soak" tests/faults

# Runs every type of model that transformers knows, and writes the table.
families: setup
	LM_STEER_FAMILY_TABLE=workflow/docs/families.md pytest -m soak tests/test_families.py

docs: setup
	python workflow/scripts/config_readme.py

lint: setup
	ruff check lm_steer tests workflow
	ruff format --check lm_steer tests workflow
	snakefmt --check Snakefile workflow
	lint-imports

format: setup
	ruff check --fix lm_steer tests workflow
	ruff format lm_steer tests workflow
	snakefmt Snakefile workflow

# Needs uv (https://docs.astral.sh/uv) on the PATH.
lock:
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes --no-header \
	  --constraint envs/torch.txt --quiet --output-file envs/requirements.lock
	$(PYTHON) workflow/scripts/conda_file.py

clean:
	rm -rf .venv results/* reports/* .snakemake
