from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from lm_steer import LMSteerError
from lm_steer.analyse import held_out
from lm_steer.analyse.held_out import write_held_out
from lm_steer.data.labelled import write_splits


@pytest.fixture
def loaded(make_loaded):
    return make_loaded("llama")


@pytest.fixture
def texts(tmp_path) -> str:
    return written([f"{sentence} {number}" for number in range(3) for sentence in tiny.SENTENCES], tmp_path / "films")


def written(texts: list[str], folder: Path) -> str:
    write_splits(pd.DataFrame({"id": range(len(texts)), "text": texts, "label": 0.0}), folder)
    return str(folder / "test.parquet")


def test_given_texts_cost_what_the_steered_model_itself_says(loaded, texts, tmp_path):
    steer = tiny.make_steer(loaded.model, epsilon=0.1)
    steer.save_pretrained(tmp_path / "steer")
    steers = [{}, {str(tmp_path / "steer"): {"style": 5, "corpus": 1}}]
    measured = [{"file": f"{number}.jsonl", "steers": one} for number, one in enumerate(steers)]
    write_held_out(loaded, measured, texts, 4, tmp_path / "out.parquet", tmp_path)
    frame = pd.read_parquet(tmp_path / "out.parquet")
    assert [len(rows) for _, rows in frame.groupby("file")] == [4, 4]
    known = pd.read_parquet(texts)["text"]

    def losses() -> np.ndarray:
        every = [torch.tensor([loaded.tokenizer(text).input_ids]) for text in known]
        return np.array([loaded.model(ids, labels=ids).loss.item() * (ids.shape[1] - 1) for ids in every])

    with torch.no_grad():
        plain = losses()
        with steer.attach(loaded.model).at(style=5, corpus=1):
            steered = losses()
    for name, expected in (("0.jsonl", plain), ("1.jsonl", steered)):
        found = frame.loc[frame["file"] == name, "nll"].to_numpy()
        assert np.abs(found[:, None] - expected).min(axis=1).max() < 1e-3
    assert np.abs(plain - steered).min() > 1e-2
    assert frame["version"].nunique() == 1 and frame["version"][0].startswith("films, 4 texts ")


def test_a_dataset_without_a_text_that_fits_is_named(loaded, tmp_path):
    written([chr(97 + number) for number in range(26)], tmp_path)
    with pytest.raises(LMSteerError, match="no text of 2 to 256 tokens"):
        write_held_out(loaded, [], str(tmp_path / "test.parquet"), 4, tmp_path / "out.parquet", tmp_path)


def test_any_labels_will_do_and_the_version_is_the_same_whatever_a_tokenizer_leaves_out(loaded, tmp_path, monkeypatch):
    texts = [f"{sentence} {number}" for number in range(3) for sentence in tiny.SENTENCES]
    texts += [f"{text} {text}" for text in texts]
    frame = pd.DataFrame({"id": range(len(texts)), "text": texts, "warmth": 1.0, "length": np.nan})
    frame.to_parquet(tmp_path / "texts.parquet")
    scores = []
    for most in (held_out.MOST, int(np.median([len(ids) for ids in loaded.whole_ids(texts)]))):
        monkeypatch.setattr(held_out, "MOST", most)
        measured = [{"file": "plain.jsonl", "steers": {}}]
        write_held_out(loaded, measured, str(tmp_path / "texts.parquet"), 1000, tmp_path / "out.parquet", tmp_path)
        scores.append(pd.read_parquet(tmp_path / "out.parquet"))
    assert len(scores[0]) > len(scores[1])
    assert pd.concat(scores)["version"].nunique() == 1
