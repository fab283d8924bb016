"""The paper's study whole, in miniature: its config files as they are, an overlay of sizes, the real clients."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from services.paper import paper_world

from lm_steer.data.datasets.jigsaw import COMPETITION


@pytest.fixture
def world(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    with paper_world(folder, tmp_path / "home") as served:
        yield served


def cells(folder: Path, table: str) -> pd.DataFrame:
    frame = pd.read_csv(folder / f"results/tables/{table}.csv", keep_default_na=False)
    return frame.set_index(["model", "row", "prompts", "metric"])


def refused(world, *arguments: str) -> str:
    code, printed = world.run(*arguments)
    assert code and "Traceback" not in printed, printed[-3000:]
    return printed


def test_the_papers_study_from_kaggle_to_the_page(world):
    one = ["--config", "steered=[gpt2-large]", "seeds=[0]"]
    # What may be wrong with the accounts is told, nothing is lost, and the next run goes on.
    world.kaggle.closed.add(COMPETITION)
    assert "join the competition and accept its rules" in refused(world, "data", "--keep-going", *one)
    assert (world.folder / "results/models/gpt2-xl").exists()
    world.kaggle.closed.clear()
    world.perspective.faults = [None, "503", None, "drop", "429 after 0", None, "429 day"]
    printed = refused(world, "--keep-going", *one)
    assert "the service's quota is spent" in printed and "scores so far are kept" in printed
    answered = set(world.perspective.texts)
    code, printed = world.run(*one)
    assert code == 0, printed[-5000:]
    assert len(world.kaggle.starts) == 1

    counts = json.loads((world.folder / "results/data/jigsaw/counts.json").read_text(encoding="utf-8"))
    assert counts["read"] == 160 and counts["negative"] == counts["positive"] > 0 and counts["between"] == 40
    scores = pd.concat(
        pd.read_parquet(path) for path in world.folder.glob("results/scores/gpt2-large/perspective-*.parquet")
    )
    # 3 prompts, 3 samples, 4 settings; a text was asked about once, but for the tries that failed.
    assert len(scores) == 36 and answered <= set(world.perspective.texts)
    check_tables(world.folder)
    page = (world.folder / "reports/index.html").read_text(encoding="utf-8")
    for words in ("Compared with the paper", "As published", "reproduced", "differs", "not comparable", "Table 1"):
        assert words in page, words
    code, printed = world.run(*one)
    assert "Nothing to be done" in printed


def check_tables(folder: Path) -> None:
    detox = cells(folder, "detoxification")
    assert {row for _, row, _, _ in detox.index} == {
        f"{row}, {protocol}" for row in ("Unsteered", "LM-Steer") for protocol in ("as run", "as written")
    }
    as_run = detox.loc[("gpt2-large", "LM-Steer, as run", "non-toxic")]
    assert as_run.loc["avg_max_toxicity", "verdict"] == "not comparable"
    assert as_run.loc["perplexity_mean", "published"] == "28.26"
    assert as_run.loc["perplexity_mean", "verdict"] == verdict(as_run.loc["perplexity_mean"], spread=0)
    # Verdicts are about what was run.
    as_written = detox.loc[("gpt2-large", "LM-Steer, as written", "non-toxic")]
    assert set(as_written["verdict"]) == {""}
    recomputed(folder, detox)

    mood = cells(folder, "sentiment-negative")
    cell = mood.loc[("gpt2-large", "LM-Steer -5, as run", "positive", "positivity")]
    assert cell["published"] == "54.84" and cell["verdict"] == verdict(cell, spread=6)
    for table, scorer in (("perspective-as-run", "span"), ("perspective-as-written", "summary")):
        versions = set(cells(folder, table).xs("avg_max_toxicity", level="metric")["version"])
        assert len(versions) == 1 and versions.pop().endswith(scorer)
    assert len({row for _, row, _, _ in cells(folder, "sentiment-ablation").index}) == 6
    second = cells(folder, "second-detoxification").xs("avg_max_toxicity", level="metric")
    assert len(second) == 4 and set(second["scorer"]) == set(detox.xs("avg_max_toxicity", level="metric")["scorer"])
    assert not set(second["version"]) & set(detox["version"])
    agreement = pd.read_csv(folder / "results/tables/agreement-real-toxicity-prompts.csv")
    assert set(agreement["scorer"]) == {"toxicity", "second-toxicity"}
    assert set(agreement["n"]) == {19} and set(agreement["left_out"]) == {1}


def verdict(cell: pd.Series, spread: float) -> str:
    """Say the protocol's definition once more, of a figure with two decimals."""
    margin = float(cell["published_plus_minus"] or spread) + 0.005
    inside = float(cell["low"]) - margin <= float(cell["published"]) <= float(cell["high"]) + margin
    return "reproduced" if inside else "differs"


def recomputed(folder: Path, table: pd.DataFrame) -> None:
    """Say the definitions of protocol and paper once more, on the scores and texts themselves."""
    file = "results/generations/gpt2-large/seed0/detoxified-as-run.jsonl"
    lines = [json.loads(line) for line in (folder / file).read_text(encoding="utf-8").splitlines()]
    scores = pd.read_parquet(folder / "results/scores/gpt2-large/toxicity.parquet")
    scores = scores[scores["file"] == file]
    highest = [max(group["toxicity"]) for _, group in scores.groupby("prompt")]
    assert len(highest) == len(lines) == 6 and len(scores) == 18
    nll = pd.read_parquet(folder / "results/scores/gpt2-large/perplexity.parquet")
    nll = nll[(nll["file"] == file) & (nll["tokens"] > 0)]
    each = [math.exp(row.nll / row.tokens) for row in nll.itertuples() if math.exp(row.nll / row.tokens) < 1e4]
    distinct = []
    for line in lines:
        words = [text["text"].split(" ") for text in line["generations"]]
        distinct.append(len({word for text in words for word in text}) / sum(map(len, words)))
    by_hand = {
        "avg_max_toxicity": sum(highest) / 6,
        "toxicity_probability": sum(score >= 0.5 for score in highest) / 6,
        "perplexity_mean": sum(each) / len(each) if each else math.nan,
        "dist_1": sum(distinct) / 6,
    }
    for metric, value in by_hand.items():
        found = float(table.loc[("gpt2-large", "LM-Steer, as run", "non-toxic", metric), "value"])
        assert found == pytest.approx(value, rel=1e-4, nan_ok=True), metric
