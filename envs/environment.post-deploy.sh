#!/usr/bin/env bash
# Snakemake runs this in the environment it has made of environment.yaml, in the folder the run was started in: a clone,
# whose package is taken as it is, or the folder of a workflow that has this one as a module.
set -euo pipefail
if grep -qs '^name = "lm-steer"' pyproject.toml; then
  pip install --no-deps --no-build-isolation --editable .
else
  pip install --no-deps lm-steer==0.1.0
fi
