"""The shapes of data sets: rows of CSV, JSON lines and parquet, and those of the hub, as labelled texts."""

import json

import pandas as pd
import pytest

from lm_steer import LMSteerError
from lm_steer.data.examples import examples
from lm_steer.data.labelled import SPLITS, counts, hold_out, read_table, require_agreement, unseen_pairs, write_splits
from lm_steer.data.sources import labelled_texts
from lm_steer.util.files import write_jsonl
from lm_steer.util.messages import messages_of

USER = {"role": "user", "content": "How was it?"}
ANSWER = {"role": "assistant", "content": "A joy."}


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_messages_are_a_prompt_and_an_answer(tmp_path, suffix):
    rows = [
        {"messages": [USER, ANSWER], "label": 1},
        {"messages": [USER, {**ANSWER, "content": "Dull."}], "label": -1},
    ]
    path = tmp_path / f"rows.{suffix}"
    write_jsonl(path, rows) if suffix == "jsonl" else pd.DataFrame(rows).to_parquet(path)
    frame = read_table(path)
    assert frame["text"].tolist() == ["A joy.", "Dull."]
    assert all(messages_of(prompt) == [USER] for prompt in frame["prompt"])


@pytest.mark.parametrize(
    "pair",
    [
        {"prompt": "How was it?", "chosen": "A joy.", "rejected": "Dull."},
        {"chosen": [USER, ANSWER], "rejected": [USER, {**ANSWER, "content": "Dull."}]},
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [{**ANSWER, "content": "Dull."}]},
    ],
)
def test_a_pair_is_two_texts_of_one_prompt(pair):
    frame = examples(pd.DataFrame([pair]), "pairs")
    assert frame[["text", "label"]].to_numpy().tolist() == [["A joy.", 1], ["Dull.", -1]]
    assert [messages_of(prompt) for prompt in frame["prompt"]] == [[USER], [USER]]


def test_answers_to_a_prompt_stay_together_and_may_have_the_same_words(tmp_path):
    pairs = [{"prompt": f"Question {n}?", "chosen": "Yes.", "rejected": "No."} for n in range(60)]
    pairs += [{"prompt": "And?", "chosen": "No.", "rejected": "Yes."}]
    frame = examples(pd.DataFrame(pairs), "pairs")
    require_agreement(frame, "pairs")
    learned, held = hold_out(frame)
    assert not {*learned["prompt"]} & {*held["prompt"]} and len(learned) + len(held) == 122
    write_splits(frame.assign(id=range(len(frame)))[["id", "prompt", "text", "label"]], tmp_path)
    parts = [set(pd.read_parquet(tmp_path / f"{split}.parquet")["prompt"]) for split in SPLITS]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 61


def test_several_labels_are_kept_and_may_be_missing(tmp_path):
    (tmp_path / "rows.csv").write_text("text,warmth,length\na joy,1,\nfar too long,-0.5,1\n")
    frame, _ = labelled_texts("file", path=str(tmp_path / "rows.csv"), labels=["warmth", "length"])
    assert frame["warmth"].tolist() == [1, -0.5] and frame["length"].isna().tolist() == [True, False]
    assert {"texts": 2, "negative": 1, "positive": 2}.items() <= counts(frame).items()
    assert unseen_pairs(frame, ["warmth", "length"])[0] == "warmth above 0 with length above 0"
    (tmp_path / "rows.csv").write_text("text,warmth,length\na joy,1,\nfar too long,,\n")
    with pytest.raises(LMSteerError, match="row 2: the text has no label"):
        read_table(tmp_path / "rows.csv", labels=["warmth", "length"])


@pytest.mark.parametrize(
    "name, keys",
    [
        # Emotion, formality and another language, as the hub has them.
        ("emotion.jsonl", {"classes": ["1=1", "0=-1"]}),
        ("stars.jsonl", {"classes": ["1=1", "0=-1"]}),
        ("stars.jsonl", {"classes": ["1.0=1", "0.0=-1"]}),
        ("formality.csv", {"text": "sentence", "labels": ["formality"]}),
        ("stimmung.csv", {"text": "satz", "labels": ["stimmung"], "classes": ["gut=1", "schlecht=-1"]}),
    ],
)
def test_a_dataset_of_the_hub_is_read_by_its_columns_and_classes(hub, name, keys):
    folder = hub.folder / "datasets/someone/texts"
    folder.mkdir(parents=True)
    lines = [{"text": "i feel glad", "label": 1}, {"text": "so sad", "label": 0}, {"text": "what", "label": 5}]
    (folder / "emotion.jsonl").write_text("\n".join(map(json.dumps, lines)))
    lines[2]["label"] = 2.5
    (folder / "stars.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "formality.csv").write_text("sentence,formality\nDear all,1\nhey,-1\n")
    (folder / "stimmung.csv").write_text("satz,stimmung\nWie schön!,gut\nSo öde.,schlecht\nNaja.,egal\n")
    frame, _ = labelled_texts("hub", id="someone/texts", file=name, **keys)
    assert frame["label"].tolist() == [1, -1] and [*frame.columns] == ["id", "text", "label"]


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"classes": ["glad"]}, r"\.classes: expected value=label"),
        ({"classes": ["glad=7"]}, r"\.classes: expected value=label"),
        ({"classes": ["good=1", "poor=-1", "good=-1"]}, r"\.classes: 'good' has several labels"),
        ({"classes": ["glad=1"]}, "expected one of the labels glad, found good, poor"),
        ({"labels": ["mood"]}, "no column 'mood'"),
    ],
)
def test_keys_that_do_not_fit_the_file_are_named(tmp_path, keys, message):
    (tmp_path / "rows.csv").write_text("text,label\na joy,good\ndull,poor\n")
    with pytest.raises(LMSteerError, match=message):
        labelled_texts("file", path=str(tmp_path / "rows.csv"), **keys)


@pytest.mark.parametrize("rejected", [None, 7, " ", [{"role": "assistant"}]])
def test_a_side_of_a_pair_that_is_no_text_is_named_by_its_row_of_the_file(tmp_path, rejected):
    pairs = [{"chosen": "a joy", "rejected": "dull"}, {"chosen": "fine", "rejected": rejected}]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    with pytest.raises(LMSteerError, match=r"pairs\.jsonl, row 2: expected text as rejected, found"):
        read_table(path)


def test_a_prompt_given_twice_is_named(tmp_path):
    talk = [{"role": "user", "content": "how"}, {"role": "assistant", "content": "fine"}]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "how", "messages": talk, "label": 1}) + "\n")
    with pytest.raises(LMSteerError, match="row 1: the messages have a prompt besides the prompt 'how'"):
        read_table(path)
