import math
import shutil

import numpy as np
import pandas as pd
import pytest

from lm_steer import LMSteerError
from lm_steer.data.labelled import (
    SPLITS,
    checked_texts,
    plain,
    read_table,
    read_texts,
    require_agreement,
    text_key,
    write_splits,
)
from lm_steer.data.prompt_files import prompt_rows, read_generations, read_prompts
from lm_steer.util.files import write_jsonl


def frame(texts: list[str], labels: list | None = None) -> pd.DataFrame:
    labels = labels or [0.5] * len(texts)
    return pd.DataFrame({"id": [f"t-{n}" for n in range(len(texts))], "text": texts, "label": labels})


def test_prompts_come_back_in_order(tmp_path):
    prompts = ["The film", "A  joy ", "été\u2028"]
    write_jsonl(tmp_path / "p.jsonl", prompt_rows(prompts))
    assert read_prompts(tmp_path / "p.jsonl") == prompts


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_prompt_file_is_refused(tmp_path, content):
    (tmp_path / "p.jsonl").write_text(content)
    with pytest.raises(LMSteerError, match=r"p\.jsonl is empty"):
        read_prompts(tmp_path / "p.jsonl")


@pytest.mark.parametrize(
    "row, message",
    [
        ({"prompt": {"text": " "}}, "line 2: the prompt is empty"),
        ({"prompt": {"text": ""}}, "line 2: the prompt is empty"),
        ({"prompt": {}}, "line 2, prompt: the key 'text' is missing"),
        ({"prompt": "The film"}, "line 2, prompt: expected a mapping, found 'The film'"),
        ({"text": "The film"}, "line 2: the key 'prompt' is missing"),
        ({"prompt": {"text": None}}, r"line 2, prompt\.text: expected text, found null"),
    ],
)
def test_a_bad_prompt_is_named(tmp_path, row, message):
    write_jsonl(tmp_path / "p.jsonl", [{"prompt": {"text": "The film"}}, row])
    with pytest.raises(LMSteerError, match=message):
        read_prompts(tmp_path / "p.jsonl")


def generations(*samples: str) -> dict:
    return {"prompt": {"text": "The film"}, "generations": [{"text": text, "score": 1} for text in samples]}


def test_generations_are_read(tmp_path):
    write_jsonl(tmp_path / "g.jsonl", [generations(" was", ""), generations(" is", " has")])
    assert read_generations(tmp_path / "g.jsonl") == (["The film"] * 2, [[" was", ""], [" is", " has"]])


@pytest.mark.parametrize(
    "rows, message",
    [
        ([], "is empty"),
        ([generations()], "line 1: expected some generations, found 0"),
        ([generations("a", "b"), generations("a")], "line 2: expected 2 generations, found 1"),
        ([generations("a"), {"prompt": {"text": "x"}}], "line 2: the key 'generations' is missing"),
        ([{"prompt": {"text": "x"}, "generations": ["a"]}], r"line 1, generations\[0\]: expected a mapping"),
        ([{"prompt": {"text": "x"}, "generations": None}], "line 1, generations: expected a list"),
        ([generations(None)], r"line 1, generations\[0\]\.text: expected text, found null"),
        ([generations("a"), generations(5)], r"line 2, generations\[0\]\.text: expected text, found '5'"),
    ],
)
def test_bad_generations_are_named(tmp_path, rows, message):
    write_jsonl(tmp_path / "g.jsonl", rows)
    with pytest.raises(LMSteerError, match=message):
        read_generations(tmp_path / "g.jsonl")


@pytest.mark.parametrize("label", [1.01, -1.5, math.nan, math.inf, "good", None])
def test_a_label_out_of_range_is_named(label):
    with pytest.raises(LMSteerError, match=r"mine, row 2: expected a number in \[-1, 1\] as label, found"):
        checked_texts(frame(["one", "two"], [1, label]), "mine")


@pytest.mark.parametrize("label", [True, False, np.True_])
def test_a_truth_value_is_no_label(label):
    with pytest.raises(
        LMSteerError, match=r"mine, row 1: expected a number in \[-1, 1\] as label, found .*(True|False)"
    ):
        checked_texts(frame(["one", "two"], [label, 1]), "mine")


def test_the_same_text_with_two_labels_is_refused_with_its_rows():
    require_agreement(
        frame(["One.", "one", "two", "\N{THUMBS UP SIGN}", "\N{THUMBS DOWN SIGN}"], [1, 1, -1, 1, -1]), "mine"
    )
    with pytest.raises(LMSteerError, match=r"mine: .* label 1 in row 1 and -1 in row 3 .*2 rows contradict"):
        require_agreement(frame(["One.", "two", "ONE"], [1, 0, -1]), "mine")


def test_a_text_of_ones_own_has_one_label(tmp_path):
    for name in ("counts.json", "train.csv"):
        (tmp_path / "made" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "made" / name).write_text("text,label\na joy,1\nA joy!,-1\n")
    shutil.copy(tmp_path / "made/train.csv", tmp_path / "own.csv")
    assert len(read_table(tmp_path / "made/train.csv")) == 2
    with pytest.raises(LMSteerError, match="label 1 in row 1 and -1 in row 2"):
        read_table(tmp_path / "own.csv")


def test_the_words_of_a_table_stay_what_they_are(tmp_path):
    words = ["NA", "null", "None", "nan", "1", "true"]
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(f"{word},0.5\n" for word in words))
    assert read_table(tmp_path / "t.csv")["text"].tolist() == words


@pytest.mark.parametrize("text", ["", " \n", None, math.nan])
def test_an_empty_text_is_named(text):
    with pytest.raises(LMSteerError, match="mine, row 2: expected text that is not empty"):
        checked_texts(frame(["one", text]), "mine")


@pytest.mark.parametrize("column", ["text", "label"])
def test_a_missing_column_is_named(column):
    with pytest.raises(LMSteerError, match=f"no column '{column}'"):
        checked_texts(frame(["one"]).drop(columns=column), "mine")


def test_labels_at_the_ends_and_as_strings_are_taken():
    assert checked_texts(frame(["a", "b"], ["-1", "1"]), "mine")["label"].tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("content", [b"", b"not parquet"])
def test_a_file_that_is_not_parquet_is_named(tmp_path, content):
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(LMSteerError, match=r"t\.parquet is not a parquet file"):
        read_texts(tmp_path / "t.parquet")


def splits(texts: list[str], folder) -> dict[str, set[str]]:
    write_splits(frame(texts), folder)
    return {split: set(read_texts(folder / f"{split}.parquet")["text"]) for split in SPLITS}


TEXTS = [f"Text number {number}." for number in range(2000)]


def test_splits_hold_every_text_once_in_about_the_stated_shares(tmp_path):
    made = splits(TEXTS, tmp_path)
    assert set.union(*made.values()) == set(TEXTS)
    assert sum(map(len, made.values())) == len(TEXTS)
    for split, share in {"train": 0.6, "dev": 0.1, "test": 0.3}.items():
        assert len(made[split]) / len(TEXTS) == pytest.approx(share, abs=0.04)


def test_a_text_stays_in_its_split_whatever_else_is_there(tmp_path):
    whole = splits(TEXTS, tmp_path / "whole")
    part = splits(TEXTS[::-3], tmp_path / "part")
    assert all(part[split] <= whole[split] for split in SPLITS)


def test_texts_that_differ_in_casing_and_punctuation_share_a_split(tmp_path):
    varied = [text.upper().replace(".", "  !!") for text in TEXTS]
    made = splits(TEXTS + varied, tmp_path)
    for split in SPLITS:
        assert {text_key(text) for text in made[split]}.isdisjoint(
            text_key(text) for other in SPLITS if other != split for text in made[other]
        )


def test_the_same_texts_give_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        splits(TEXTS, tmp_path / folder)
    for split in SPLITS:
        name = f"{split}.parquet"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    "one, other, same",
    [("It's  GOOD!", "its good", True), ("ﬁne", "FINE", True), ("good", "goods", False), ("1.5", "15", True)],
)
def test_plain_keeps_letters_and_digits_alone(one, other, same):
    assert (plain(one) == plain(other)) == same
