"""The embedded parts for real, in small: packages of the registry, SmolLM2, its steers, the judges, the page."""

import json
import re

import pandas as pd
from running import ROOT, places, run_study


def test_the_embedded_study_in_small(tmp_path, commands):
    run_study(tmp_path, "--configfile", ROOT / ".test/config/embedded.yaml", **places(tmp_path, commands, ROOT))
    table = pd.read_csv(tmp_path / "results/tables/sentiment.csv")
    values = table[table["metric"] == "positivity"].set_index("row")["value"]
    # A few steps on the first words of texts are enough to tell the two directions apart.
    assert values["Positive"] > values["Negative"]
    # The page says how good the judge is, and that the labels of one steer, and of that alone, are a word list's.
    page = (tmp_path / "reports/index.html").read_text(encoding="utf-8")
    judge = json.loads(next(tmp_path.glob("results/judges/*/judge.json")).read_text(encoding="utf-8"))
    assert judge["held_out_accuracy"] > 0.7
    assert f"right on {100 * judge['held_out_accuracy']:.1f} % of {judge['held_out_texts']:,} held-out texts" in page
    marked = re.findall(r'<th scope="row">([\w-]+)( <span class="weak">)?', page)
    assert {("detox", True), ("sentiment", False)} <= {(name, bool(weak)) for name, weak in marked}
