import json
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from services.kaggle import Kaggle

from lm_steer import LMSteerError
from lm_steer.data import comments
from lm_steer.data.datasets.jigsaw import COMPETITION, HUB_FILES, REPO, REVISION, drawn
from lm_steer.data.labelled import SPLITS, text_key
from lm_steer.data.sources import labelled_texts

TOXIC, CLEAN, BETWEEN = 60, 200, 40


def table(text: str = "comment_text", toxicity: str = "toxicity") -> pd.DataFrame:
    """Comments with quoted newlines, commas and quotes, their kind in the text, in the layout of all_data.csv."""
    rng = np.random.default_rng(0)
    kinds = ["toxic"] * TOXIC + ["clean"] * CLEAN + ["between"] * BETWEEN
    values = [*rng.uniform(0.5, 1, TOXIC), *[0.0] * CLEAN, *rng.uniform(0.01, 0.49, BETWEEN)]
    values[0] = 0.5
    texts = [f'A "{kind}" one,\nof number {number}\n' for number, kind in enumerate(kinds)]
    frame = pd.DataFrame({"id": range(1000, 1000 + len(kinds)), text: texts, "split": "train", toxicity: values})
    return frame.sample(frac=1, random_state=1)


def write(path, frame: pd.DataFrame) -> str:
    frame.to_csv(path, index=False)
    return str(path)


def texts_of(frame: pd.DataFrame) -> dict[str, set[str]]:
    return {split: set(frame["text"][frame["split"] == split]) for split in SPLITS}


def test_classes_are_balanced_and_a_tenth_each_is_held_out(tmp_path):
    frame, found = labelled_texts("jigsaw", origin=write(tmp_path / "all_data.csv", table()))
    assert frame.groupby(["split", "label"]).size().to_dict() == {
        (split, label): count for split, count in {"train": 48, "dev": 6, "test": 6}.items() for label in (-1.0, 1.0)
    }
    toxic = frame["text"].str.contains("toxic")
    assert ((frame["label"] == -1) == toxic).all() and not frame["text"].str.contains("between").any()
    assert found == {
        "read": 300, "empty": 0, "between": BETWEEN, "repeated": 0, "toxic": TOXIC, "non_toxic": CLEAN
    }  # fmt: skip


def test_texts_and_ids_are_those_of_the_file(tmp_path):
    rows = table()
    frame, _ = labelled_texts("jigsaw", origin=write(tmp_path / "all_data.csv", rows))
    text_of = dict(zip(rows["id"].astype(str), rows["comment_text"], strict=True))
    assert [text_of[name] for name in frame["id"]] == frame["text"].tolist()


def test_the_layout_of_train_csv_gives_the_same_texts(tmp_path):
    whole, _ = labelled_texts("jigsaw", origin=write(tmp_path / "all_data.csv", table()))
    other, _ = labelled_texts("jigsaw", origin=write(tmp_path / "train.csv", table(toxicity="target")))
    pd.testing.assert_frame_equal(whole, other)


def test_order_of_rows_and_size_of_blocks_do_not_matter(tmp_path, monkeypatch):
    whole, _ = labelled_texts("jigsaw", origin=write(tmp_path / "all_data.csv", table()))
    monkeypatch.setattr(comments, "BLOCK_BYTES", 1 << 10)
    other, found = labelled_texts("jigsaw", origin=write(tmp_path / "other.csv", table()[::-1]))
    pd.testing.assert_frame_equal(whole, other)
    assert found["read"] == 300


def test_the_seed_draws_and_splits(tmp_path):
    origin = write(tmp_path / "all_data.csv", table())
    first, again, other = (texts_of(labelled_texts("jigsaw", origin=origin, seed=seed)[0]) for seed in (0, 0, 1))
    assert first == again
    assert set.union(*first.values()) != set.union(*other.values())
    assert first["dev"] != other["dev"]


def test_a_comment_that_comes_twice_counts_once_and_as_toxic(tmp_path):
    rows = table()
    copies = rows[rows["toxicity"] >= 0.5].head(20)
    copies = copies.assign(comment_text=copies["comment_text"].str.upper(), toxicity=0.0)
    both = pd.concat([copies, rows, rows.tail(30)])
    frame, found = labelled_texts("jigsaw", origin=write(tmp_path / "all_data.csv", both))
    assert found["toxic"] == TOXIC and found["non_toxic"] == CLEAN
    assert not frame["text"].map(text_key).duplicated().any()
    assert (frame["label"] == -1).sum() == (frame["label"] == 1).sum() == TOXIC


def test_empty_comments_are_left_out_and_counted(tmp_path):
    rows = pd.concat([table(), pd.DataFrame({"id": [1, 2], "comment_text": ["", " \n"], "toxicity": [0.9, 0]})])
    frame, found = labelled_texts("jigsaw", origin=write(tmp_path / "all_data.csv", rows))
    assert found["empty"] == 2 and frame["text"].str.strip().all()


def test_words_that_look_like_missing_values_are_texts(tmp_path):
    rows = table()
    rows["comment_text"] = rows["comment_text"].where(rows["id"] != 1000, "null")
    frame, _ = labelled_texts("jigsaw", origin=write(tmp_path / "all_data.csv", rows))
    assert frame["label"][frame["text"] == "null"].tolist() == [-1.0]


def test_two_thousand_a_class_are_held_out_of_a_large_set():
    key = np.random.default_rng(0).permutation(100_000).astype(np.uint64)
    part = drawn(key, np.arange(100_000) < 30_000, "here")
    assert [int((part[:30_000] == number).sum()) for number in range(3)] == [26_000, 2000, 2000]
    assert [int((part[30_000:] == number).sum()) for number in range(3)] == [26_000, 2000, 2000]


@pytest.mark.parametrize("member", ["all_data.csv", "jigsaw/all_data.csv", "train.csv", "mine.csv"])
def test_a_zip_is_read_in_place(tmp_path, member):
    plain = write(tmp_path / "all_data.csv", table())
    with zipfile.ZipFile(tmp_path / "some.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(plain, member)
        archive.writestr("readme.txt", "nothing")
        if member.endswith("all_data.csv"):
            archive.writestr("train.csv", "id,target\n")
    whole, _ = labelled_texts("jigsaw", origin=plain)
    pd.testing.assert_frame_equal(labelled_texts("jigsaw", origin=str(tmp_path / "some.zip"))[0], whole)


def test_a_folder_of_parquet_files_is_read(tmp_path):
    rows = table("text")[["text", "toxicity"]].astype({"toxicity": "float32"})
    (tmp_path / "parts").mkdir()
    rows[:100].to_parquet(tmp_path / "parts/a.parquet")
    rows[100:].to_parquet(tmp_path / "parts/b.parquet")
    frame, _ = labelled_texts("jigsaw", origin=str(tmp_path / "parts"))
    whole, _ = labelled_texts("jigsaw", origin=write(tmp_path / "all_data.csv", table()))
    assert texts_of(frame) == texts_of(whole)
    assert frame["id"].is_unique


def test_the_hub_gives_the_comments_of_all_its_files(hub, tmp_path):
    rows = table("text")[["text", "toxicity"]].astype({"toxicity": "float32"})
    for number, name in enumerate(HUB_FILES):
        path = hub.folder / "datasets" / REPO / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows[number::4].to_parquet(path)
    hub.revisions = {REVISION}
    frame, _ = labelled_texts("jigsaw", origin="hub")
    whole, _ = labelled_texts("jigsaw", origin=write(tmp_path / "all_data.csv", table()))
    assert texts_of(frame) == texts_of(whole)


def test_kaggle_to_splits_by_the_command_line(tmp_path, monkeypatch):
    stored = tmp_path / "all_data.csv.zip"
    with zipfile.ZipFile(stored, "w") as archive:
        archive.write(write(tmp_path / "all_data.csv", table()), "all_data.csv")
    monkeypatch.setenv("LM_STEER_DOWNLOADS", str(tmp_path / "downloads"))
    with Kaggle({COMPETITION: {"all_data.csv": stored}}) as server:
        for variable, value in server.variables(tmp_path).items():
            monkeypatch.setenv(variable, value)
        command = "from lm_steer.cli import main; main()"
        options = ["data", "--source", "jigsaw", "--origin", "kaggle", "--seed", "3", "-o", tmp_path / "out"]
        subprocess.run([sys.executable, "-c", command, *options], check=True)
    expected, found = labelled_texts("jigsaw", origin=str(tmp_path / "all_data.csv"), seed=3)
    for split in SPLITS:
        written = pd.read_parquet(tmp_path / "out" / f"{split}.parquet")
        assert set(written["text"]) == texts_of(expected)[split]
    assert json.loads((tmp_path / "out/counts.json").read_text()) == {
        "texts": 120, "negative": 60, "neutral": 0, "positive": 60, "train": 96, "dev": 12, "test": 12, **found
    }  # fmt: skip


HEAD = "id,comment_text,toxicity\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,text,score\n1,a,0\n", "expected the columns comment_text and toxicity; .*, found id, text, score"),
        (HEAD + "1,a,0\n2,b,1.5\n", r"row 2: expected a toxicity in \[0, 1\], found '1\.5'"),
        (HEAD + '1,"a\nb",0\n2,b,high\n', "row 2: expected a toxicity in .*, found 'high'"),
        (HEAD + "1,a,0\n2,b\n", "Expected 3 columns, got 2"),
        (HEAD + "1,a,nan\n", "row 1: expected a toxicity in .*, found 'nan'"),
        (HEAD + '1,"a,0\n2,b,0\n', "is not a whole csv in UTF-8"),
        (HEAD + "1,caf\udce9,0\n", "is not a whole csv in UTF-8"),
        ("", "is not a whole csv in UTF-8"),
        (HEAD + "1,a,0\n2,b,1\n", "expected at least 10 toxic and 10 non-toxic comments, found 1 and 1"),
        (HEAD, "found 0 and 0"),
    ],
)
def test_a_bad_file_is_named(tmp_path, content, message):
    path = tmp_path / "mine.csv"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(LMSteerError, match=message) as caught:
        labelled_texts("jigsaw", origin=str(path))
    assert str(path) in str(caught.value)


def test_the_row_of_a_later_block_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(comments, "BLOCK_BYTES", 1 << 10)
    rows = table()
    rows.iloc[25, rows.columns.get_loc("toxicity")] = -0.1
    with pytest.raises(LMSteerError, match=r"row 26: expected a toxicity in .*, found '-0\.1'"):
        labelled_texts("jigsaw", origin=write(tmp_path / "all_data.csv", rows))


def damaged(path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def test_a_damaged_zip_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        archive.write(write(tmp_path / "all_data.csv", table()), "all_data.csv")
    whole = (tmp_path / "whole.zip").read_bytes()
    short = damaged(tmp_path / "short.zip", whole[: len(whole) // 2])
    flipped = damaged(tmp_path / "flipped.zip", whole[:5000].replace(b"number", b"numbre") + whole[5000:])
    for path in (short, flipped):
        with pytest.raises(LMSteerError, match="is not a whole csv in UTF-8, alone or in a zip") as caught:
            labelled_texts("jigsaw", origin=path)
        assert path in str(caught.value)


def test_a_small_zip_of_one_endless_comment_is_refused_before_it_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(comments, "BLOCK_BYTES", 1 << 20)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("all_data.csv", HEAD + '1,"' + "a \n" * (2 << 20) + '",0\n')
    with pytest.raises(LMSteerError, match=r"bomb\.zip: one comment takes more than 1 MB"):
        labelled_texts("jigsaw", origin=str(path))


def test_a_zip_without_a_table_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(LMSteerError, match=r"expected all_data\.csv or train\.csv, found readme\.txt"):
        labelled_texts("jigsaw", origin=str(tmp_path / "some.zip"))


def test_a_parquet_file_that_is_none_is_named(tmp_path):
    with pytest.raises(LMSteerError, match=r"some\.parquet is not a whole parquet file"):
        labelled_texts("jigsaw", origin=damaged(tmp_path / "some.parquet", b"PAR1 and then nothing"))


@pytest.mark.parametrize(
    ("origin", "message"),
    [("", "origin: expected text that is not empty"), ("nowhere.csv", "nowhere.csv does not exist")],
)
def test_an_origin_that_is_none_is_told(origin, message):
    with pytest.raises(LMSteerError, match=message):
        labelled_texts("jigsaw", origin=origin)
