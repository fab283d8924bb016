"""The loss on unrelated texts under the steers of a study's settings: a side effect of steering.

    lm-steer side-effects --study results/study.json --name smollm2 --scorer films --model results/models/smollm2 \\
        --texts results/data/films/test.parquet -o results/scores/smollm2/films.parquet

The model's body runs once per text; each setting costs a product with the head.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lm_steer.analyse.grid import text_memo
from lm_steer.core.attach import check_fit
from lm_steer.data.labelled import first_texts
from lm_steer.generation.jobs import load_steer
from lm_steer.model.head import head_of
from lm_steer.model.load import LoadedModel
from lm_steer.training.learn import steered_nll
from lm_steer.training.loss import head_cross_entropy
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import fingerprint, replacing
from lm_steer.util.formats import read_parquet
from lm_steer.util.progress import Progress

# Tokens per text: the first is given, and training cuts texts at 256.
FEWEST, MOST = 2, 256


def write_held_out(
    loaded: LoadedModel, settings: Sequence[Mapping[str, Any]], path: str, count: int, output: Path, cache: Path
) -> None:
    """Write a parquet of scores (file, prompt, sample, nll, tokens, scorer, version), with a text in a prompt's place.

    settings    for each setting and seed, its generation file, which names it, and its steers with their values
    path        labelled texts, of which the `count` with the lowest hashes are used, whatever their labels
    """
    every = read_parquet(path, ["text"])
    texts = _chosen(loaded, every, path, count)
    # The same for all models of a table, although their tokenizers may exclude different texts.
    version = f"{Path(path).parent.name}, {min(count, len(every))} texts {fingerprint(list(every['text']))[:8]}"
    states = text_memo(loaded, cache / "texts.sqlite").states(texts, Path(path).parent.name)
    targets = [torch.tensor(ids[1:], device=loaded.device) for ids in loaded.whole_ids(texts)]
    lengths = [len(ids) for ids in targets]
    hidden = torch.cat([states[text][:-1] for text in texts]).to(loaded.device)
    frames = []
    with Progress(f"loss on {Path(path).parent.name}", len(settings), "setting") as progress:
        for one in settings:
            nll = _nll(loaded, one["steers"], hidden, torch.cat(targets)).split(lengths)
            scores = {"nll": [each.sum().item() for each in nll], "tokens": [float(length) for length in lengths]}
            frames.append(scores_of_model(one["file"], scores, "held-out", version))
            progress.advance()
    with replacing(output) as temporary:
        pd.concat(frames).to_parquet(temporary, index=False)


def scores_of_model(file: str, scores: Mapping[str, Sequence[float]], scorer: str, version: str) -> pd.DataFrame:
    """Return scores in the columns of a generation file's, with texts or questions in place of its prompts."""
    frame = pd.DataFrame(scores)
    place = {"file": file, "prompt": range(len(frame)), "sample": 0}
    return pd.DataFrame(place).join(frame).assign(scorer=scorer, version=version)


def _chosen(loaded: LoadedModel, every: pd.DataFrame, path: str, count: int) -> list[str]:
    lengths = np.array([len(ids) for ids in loaded.whole_ids(list(every["text"]))])
    fitting = every[(lengths >= FEWEST) & (lengths <= min(MOST, loaded.context or MOST))]
    if fitting.empty:
        raise LMSteerError(f"{path} has no text of {FEWEST} to {MOST} tokens: name another dataset")
    return list(first_texts(fitting, min(count, len(fitting)))["text"])


@torch.no_grad()
def _nll(loaded: LoadedModel, steers: dict[str, dict[str, float]], hidden: Tensor, targets: Tensor) -> Tensor:
    """Return the NLL (tokens,) of `targets` from final hidden states (tokens, hidden)."""
    head = head_of(loaded.model)
    if not steers:
        return head_cross_entropy(head, hidden, targets)
    steer, values = load_steer(steers)
    check_fit(steer, loaded.model)
    weights = {name: weight.to(loaded.device) for name, weight in steer.weights.items()}
    each = steer.vector(values).to(loaded.device).expand(len(hidden), -1)
    return steered_nll(head, steer.kind, weights, steer.epsilon, hidden, targets, each)
