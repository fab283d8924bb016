"""The embedded study whole, as `make` runs it: does LM-Steer work? (`make soak`; some 15 minutes on two cores)"""

from pathlib import Path

import pandas as pd
import pytest
from running import ROOT, run_study

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    run_study(folder, "--configfile", ROOT / "config/config.yaml")
    return folder


@pytest.mark.parametrize(
    ("table", "row", "prompts", "metric", "sign"),
    [
        ("detoxification", "detox +5, corpus 0", "toxic", "avg_max_toxicity", -1),
        ("detox-dial", "detox -5", "non-toxic", "avg_max_toxicity", 1),
        ("sentiment-positive", "sentiment +5", "neutral", "positivity", 1),
        ("sentiment-positive", "sentiment +5", "negative", "positivity", 1),
        ("sentiment-negative", "sentiment -5", "neutral", "positivity", -1),
        ("sentiment-negative", "sentiment -5", "positive", "positivity", -1),
    ],
)
def test_the_effect_separates_from_nothing(study, table, row, prompts, metric, sign):
    cells = pd.read_csv(study / f"results/tables/{table}.csv")
    (cell,) = cells[(cells["row"] == row) & (cells["prompts"] == prompts) & (cells["metric"] == metric)].itertuples()
    assert sign * cell.difference_low > 0 and sign * cell.difference_high > 0, cell
