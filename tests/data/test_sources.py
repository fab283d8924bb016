import pandas as pd
import pytest
from services.registry import tar_of

from lm_steer import LMSteerError
from lm_steer.data.datasets.vader_snippets import ARCHIVE, CORPORA
from lm_steer.data.sources import labelled_texts

ROWS = [("One good text", 1.0), ("Two, a bad one", -1.0), ("Three", 0.25)]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_file_of_any_form_gives_the_same_texts(tmp_path, suffix):
    frame = pd.DataFrame(ROWS, columns=["text", "label"])
    path = tmp_path / f"mine.{suffix}"
    writers = {
        "csv": lambda: frame.to_csv(path, index=False),
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        "parquet": lambda: frame.to_parquet(path),
    }
    writers[suffix]()
    texts = labelled_texts("file", path=str(path))[0]
    assert list(zip(texts["text"], texts["label"], strict=True)) == ROWS
    assert list(texts["id"]) == ["mine-1", "mine-2", "mine-3"]


def test_a_text_that_comes_twice_is_kept_once(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("text,label\nA good one,1\na  GOOD one!,1\nAnother,0\n")
    assert labelled_texts("file", path=str(path))[0]["text"].tolist() == ["A good one", "Another"]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("mine.csv", b"text,label\n", "holds no texts"),
        ("mine.csv", b"", "holds no texts"),
        ("mine.csv", b"text,label\ncaf\xe9,1\n", "line 2: byte 0xe9 is not UTF-8"),
        ("mine.csv", b"text,label\nfine,1\n,1\n", "row 2: expected text that is not empty"),
        ("mine.csv", b"text,label\nfine,5\n", r"row 1: expected a number in \[-1, 1\] as label, found '5'"),
        ("mine.csv", b"text,score\nfine,1\n", "no column 'label'"),
        ("mine.jsonl", b'{"text": "fine", "label": 1}\n{"text": \n', r"mine\.jsonl, line 2"),
        ("mine.parquet", b"not parquet", "is not a parquet file"),
        ("mine.xlsx", b"", "expected one of .csv, .jsonl, .parquet"),
        ("mine.csv", None, "no such file"),
    ],
)
def test_a_bad_file_is_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(LMSteerError, match=message) as caught:
        labelled_texts("file", path=str(tmp_path / name))
    assert name in str(caught.value)


@pytest.mark.parametrize("source, message", [("file", "'path' is missing"), ("imdb", "unknown source of texts 'imdb'")])
def test_a_bad_source_is_refused(source, message):
    with pytest.raises(LMSteerError, match=message):
        labelled_texts(source)


@pytest.fixture
def vader(publish) -> None:
    """A release of the same layout as the real one, with four texts a corpus, and a list of one word."""
    members = {}
    for corpus, file in CORPORA.items():
        rows = [
            f"1\t4.0\tThe {corpus} are a joy",
            f"2\t-2\tThat darn, long thing on {corpus}",
            f"3\t0.5\tSome {corpus}\twith a tab",
            f"4\t-4\tNo {corpus}, ever",
        ]
        members[f"hutto_ICWSM_2014/{file}_GroundTruth.txt"] = "\n".join(rows).encode()
    publish("vader", "vaderSentiment-2.5.tar.gz", tar_of({ARCHIVE: tar_of(members)}))
    publish(
        "better-profanity",
        "better_profanity-0.7.0.tar.gz",
        tar_of({"better_profanity/profanity_wordlist.txt": b"Darn\n\n"}),
    )


@pytest.mark.usefixtures("vader")
def test_ratings_of_snippets_become_labels():
    texts, _ = labelled_texts("vader-snippets")
    assert texts["label"].tolist() == [1.0, -0.5, 0.125, -1.0]
    assert texts["text"].tolist()[2] == "Some movies\twith a tab"
    assert texts["id"].tolist() == ["movies-1", "movies-2", "movies-3", "movies-4"]


@pytest.mark.usefixtures("vader")
def test_weak_labels_are_balanced_within_each_corpus():
    texts, _ = labelled_texts("vader-lexicon")
    corpus = texts["id"].str.split("-").str[0]
    assert texts.groupby(corpus)["label"].apply(sorted).to_dict() == {name: [-1.0, 1.0] for name in CORPORA}
    toxic = texts["text"].str.contains("darn")
    assert (texts["label"][toxic] == -1).all() and (texts["label"][~toxic] == 1).all()


@pytest.mark.usefixtures("vader")
def test_the_same_texts_are_drawn_each_time():
    assert labelled_texts("vader-lexicon")[0].equals(labelled_texts("vader-lexicon")[0])
