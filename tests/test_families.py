"""Any causal LM of transformers is run rightly, or refused in one sentence: a part of them here, all in the soak."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from families import FAMILIES, NOT_BUILT, VARIANTS
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from verdicts import CHECKS, Outcome, checked, table

# One of each way to keep a cache, to number positions, to place a window and to make logits.
QUICK = [
    "bert-encoder",
    "big_bird",
    "bloom",
    "codegen",
    "ctrl",
    "cohere2",
    "cpmant",
    "dbrx",
    "deepseek_v2",
    "deepseek_v4",
    "falcon",
    "falcon_h1",
    "falcon_mamba",
    "gemma2",
    "gemma3_text",
    "gemma3n_text",
    "gpt_bigcode",
    "gpt_neo",
    "gpt_oss",
    "granitemoehybrid",
    "hyperclovax",
    "inkling_text",
    "jamba",
    "lfm2",
    "llama4_text",
    "mamba",
    "mamba2",
    "minicpm3",
    "minimax",
    "mpt",
    "nemotron_h",
    "opt",
    "qwen3_5_text",
    "qwen3_next",
    "recurrent_gemma",
    "reformer",
    "roberta",
    "rwkv",
    "trocr",
    "xglm",
    "xlnet",
    "xlstm",
    "zamba",
    "zamba2",
]

# A token sees those after it, or (prophetnet) the head gets several streams of states.
REFUSED = {"bert-encoder", "cpmant", "prophetnet", "reformer", "xlnet"}


@pytest.fixture(scope="module")
def note() -> Callable[[str, dict[str, Outcome]], None]:
    """Return a function that notes a family, for the table that is written where LM_STEER_FAMILY_TABLE names a file."""
    rows: dict[str, dict[str, Outcome]] = {}

    def add(family: str, row: dict[str, Outcome]) -> None:
        rows[family] = row
        if path := os.environ.get("LM_STEER_FAMILY_TABLE"):
            Path(path).write_text(table(rows), encoding="utf-8")

    return add


def assert_right_or_refused(family: str, outcomes: dict[str, Outcome]) -> None:
    assert all(outcome.good for outcome in outcomes.values()), outcomes
    verdict = "refused" if family in REFUSED else "equal"
    assert {outcomes[name].verdict for name in ("generation", "perplexity")} == {verdict}, outcomes


@pytest.mark.parametrize("family", QUICK)
def test_a_family_is_run_rightly_or_refused(family, tmp_path):
    assert_right_or_refused(family, checked(family, tmp_path, ("generation", "perplexity")))


def test_every_type_that_transformers_knows_is_built_or_listed():
    assert {*FAMILIES, *NOT_BUILT} == {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *VARIANTS}


@pytest.mark.soak
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_run_rightly_or_refused(family, tmp_path, note):
    outcomes = checked(family, tmp_path, CHECKS)
    note(family, outcomes)
    assert_right_or_refused(family, outcomes)
