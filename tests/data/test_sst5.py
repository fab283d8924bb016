import json

import pandas as pd
import pytest

from lm_steer import LMSteerError
from lm_steer.data.datasets.sst5 import REPO, REVISION
from lm_steer.data.labelled import SPLITS, counts, write_splits
from lm_steer.data.sources import labelled_texts

ROWS = {
    "train": [("a joy .", 4), ("dull", 1), ("dull", 1), ("it is \u2028 a film", 2)],
    "dev": [("fine", 3)],
    "test": [("dull", 1), ("a bore", 0)],
}


def write(folder, rows=ROWS) -> None:
    folder.mkdir(parents=True)
    for split, texts in rows.items():
        lines = [json.dumps({"text": text, "label": label, "label_text": "?"}) for text, label in texts]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_a_folder_gives_its_own_splits_whole(tmp_path):
    write(tmp_path / "sst5")
    frame, _ = labelled_texts("sst5", path=str(tmp_path / "sst5"))
    write_splits(frame, tmp_path / "out")
    for split in SPLITS:
        texts = pd.read_parquet(tmp_path / "out" / f"{split}.parquet")
        assert list(zip(texts["text"], texts["label"], strict=True)) == [
            (text, label / 2 - 1) for text, label in ROWS[split]
        ]
    assert frame["id"].is_unique
    assert counts(frame) == {
        "texts": 7, "negative": 4, "neutral": 1, "positive": 2, "train": 4, "dev": 1, "test": 2
    }  # fmt: skip


def test_the_hub_gives_the_same_at_the_pinned_revision_or_another(hub, tmp_path):
    write(tmp_path / "sst5")
    write(hub.folder / "datasets" / REPO)
    hub.revisions = {REVISION, "c" * 40}
    local, _ = labelled_texts("sst5", path=str(tmp_path / "sst5"))
    for revision in ("", "c" * 40):
        pd.testing.assert_frame_equal(labelled_texts("sst5", revision=revision)[0], local)
    assert {path.split("/")[5] for _, path in hub.requests} == {REVISION, "c" * 40}


def test_a_hub_without_it_says_how_to_do_without(hub):
    with pytest.raises(LMSteerError) as caught:
        labelled_texts("sst5")
    message = str(caught.value)
    assert REPO in message and REVISION in message and "name it by the key path" in message


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("fine", 3), ("good", 5)], r"dev\.jsonl, line 2: expected a label 0, 1, 2, 3 or 4, found 5"),
        ([("fine", "3")], r"dev\.jsonl, line 1, label: expected a whole number"),
        ([("fine", None)], r"dev\.jsonl, line 1, label: expected a whole number"),
        ([("fine", 3), (" ", 3)], r"dev\.jsonl, row 2: expected text that is not empty"),
        ([], r"dev\.jsonl holds no texts"),
    ],
)
def test_a_bad_row_is_named(tmp_path, rows, message):
    write(tmp_path / "sst5", ROWS | {"dev": rows})
    with pytest.raises(LMSteerError, match=message):
        labelled_texts("sst5", path=str(tmp_path / "sst5"))


def test_a_missing_column_is_named(tmp_path):
    write(tmp_path / "sst5")
    (tmp_path / "sst5/test.jsonl").write_text('{"text": "x", "score": 1}\n')
    with pytest.raises(LMSteerError, match=r"test\.jsonl, line 1: the key 'label' is missing"):
        labelled_texts("sst5", path=str(tmp_path / "sst5"))


def test_a_missing_file_is_named(tmp_path):
    write(tmp_path / "sst5")
    (tmp_path / "sst5/dev.jsonl").unlink()
    with pytest.raises(LMSteerError, match=r"dev\.jsonl: no such file"):
        labelled_texts("sst5", path=str(tmp_path / "sst5"))
