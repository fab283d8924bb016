"""The embedded parts for real, in small: packages of the registry, SmolLM2, its steers, the judges, the page."""

import pandas as pd
import yaml
from running import ROOT, run_study

SMALL = {
    "steers": {name: {"steps": 40, "rank": 64} for name in ("sentiment", "detox")},
    "prompts": {"toxic": {"count": 16}}
    | {name: {"count": 8} for name in ("non-toxic", "neutral", "positive", "negative")},
    "sampling": {"samples": 2, "new_tokens": 12},
}


def test_the_embedded_study_in_small(tmp_path):
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    run_study(tmp_path, ROOT / "config/config.yaml", tmp_path / "small.yaml")
    page = (tmp_path / "reports/index.html").read_text(encoding="utf-8")
    assert "weak labels" in page and "0.7" in page
    table = pd.read_csv(tmp_path / "results/tables/sentiment-dial.csv")
    values = table[table["metric"] == "positivity"].set_index("row")["value"]
    # Forty steps are enough to tell the two directions apart.
    assert values["sentiment 5"] > values["sentiment -5"]
    log = (tmp_path / "results/logs/train/smollm2.sentiment.seed0.log").read_text(encoding="utf-8")
    assert "train sentiment: 40 steps done" in log
