from dataclasses import replace

import pandas as pd
import pytest
import tiny
import torch
import yaml
from services.hub import COMMIT

from lm_steer import LMSteerError, Steer
from lm_steer.report.card import card
from lm_steer.tables.cells import COUNT_COLUMNS, NUMBER_COLUMNS, TEXT_COLUMNS

REPO = "someone/detox-tiny"
CELL = {
    **dict.fromkeys((*TEXT_COLUMNS, *COUNT_COLUMNS), 0),
    **dict.fromkeys(NUMBER_COLUMNS, 0.0),
    "model": "tiny",
    "row": "detox 5",
    "prompts": "toxic",
    "metric": "avg_max_toxicity",
    "value": 0.326,
    "low": 0.3,
    "high": 0.35,
    "difference": -0.08,
    "difference_low": -0.134,
    "difference_high": -0.023,
    "n_prompts": 80,
    "n_generations": 400,
    "scorer": "profanity-check",
    "version": "1.9.1",
}


@pytest.fixture
def steer() -> Steer:
    about = {"model": "owner/tiny", "model_type": "llama", "texts": 12, "data": "jigsaw", "texts_fingerprint": "abc"}
    recipe = {"steps": 3, "batch_size": 4, "learning_rate": 0.01, "seed": 0}
    return replace(tiny.make_steer(tiny.make_model("llama")), about=about | {"recipe": recipe})


@pytest.fixture
def table(tmp_path):
    unsteered = {**CELL, "row": "unsteered", "difference": None, "difference_low": None, "difference_high": None}
    pd.DataFrame([unsteered, CELL, {**CELL, "row": "detox -5"}]).to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


@pytest.fixture
def login(monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_someone")


@pytest.mark.usefixtures("login")
def test_a_steer_comes_back_from_the_hub_to_the_bit(hub, steer):
    url = steer.push_to_hub(REPO)
    assert url == f"{hub.address}/{REPO}/commit/{COMMIT}"
    for read in (Steer.from_pretrained(REPO), Steer.from_pretrained(REPO, revision=COMMIT)):
        assert read.about == steer.about and read.dimensions == steer.dimensions
        assert all(torch.equal(read.weights[name], steer.weights[name]) for name in steer.weights)


@pytest.mark.usefixtures("login")
def test_a_repository_holds_weights_config_and_card(hub, steer, table):
    steer.push_to_hub(REPO, tables=[table], rows=["detox 5"], intended_use="To test with.")
    stored = sorted(path.name for path in (hub.folder / REPO).iterdir())
    assert stored == ["README.md", "steer.safetensors", "steer_config.json"]
    _, metadata, text = (hub.folder / REPO / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(metadata)["base_model"] == "owner/tiny"
    assert f'Steer.from_pretrained("{REPO}")' in text
    assert "To test with." in text
    assert "12 labelled texts from jigsaw" in text
    assert "-0.08 (-0.134 to -0.023)" in text and "80, 400 | profanity-check 1.9.1" in text
    assert "unsteered |" not in text and "detox -5" not in text


@pytest.mark.parametrize("kind", tiny.KINDS)
@pytest.mark.usefixtures("login")
def test_a_card_is_written_of_every_kind_and_of_a_sum(hub, kind):
    model = tiny.make_model("llama")
    (2 * tiny.make_steer(model, kind) + tiny.make_steer(model, kind, seed=1)).push_to_hub(REPO)
    text = (hub.folder / REPO / "README.md").read_text()
    assert "Not recorded." in text and "None given." in text and "undefined" not in text.lower()


@pytest.mark.parametrize("prefix", ["", "detox"])
def test_the_lines_of_python_on_a_card_are_python(steer, prefix):
    text = card(steer.renamed(prefix) if prefix else steer, REPO)
    code = text.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert ('.at({"detox.style": 5}):' if prefix else ".at(style=5):") in code


def test_pushing_without_a_login_is_told(hub, steer, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(LMSteerError, match=r"pushed to the hub .*log in with `hf auth login`"):
        steer.push_to_hub(REPO)
    assert not (hub.folder / REPO).exists()


@pytest.mark.usefixtures("login")
def test_a_bad_table_is_refused_before_anything_is_sent(hub, steer, table, tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for tables, rows, message in [
        ([tmp_path / "none.csv"], [], "none.csv: no such file"),
        ([tmp_path / "other.csv"], [], f"no column '{TEXT_COLUMNS[0]}'"),
        ([table], ["detox 7"], "no row 'detox 7': it has unsteered, detox 5, detox -5"),
    ]:
        with pytest.raises(LMSteerError, match=message):
            steer.push_to_hub(REPO, tables=tables, rows=rows)
    assert not hub.requests


def test_a_steer_that_is_nowhere_is_named(hub):
    with pytest.raises(LMSteerError, match=r"someone/nothing.*no such repository.*or give the folder of a steer"):
        Steer.from_pretrained("someone/nothing")
    assert hub.requests
