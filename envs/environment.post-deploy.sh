#!/usr/bin/env bash
# Snakemake runs this in the environment it has made of environment.yaml, in the folder the run was started in.
set -euo pipefail
if [ ! -f pyproject.toml ]; then
  echo "start the run in the folder of lm-steer, or install the package into the environment yourself" >&2
  exit 1
fi
pip install --no-deps --no-build-isolation --editable .
