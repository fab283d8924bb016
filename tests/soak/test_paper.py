"""The paper's study in miniature with its whole grid: three models, three seeds, both protocols (`make soak`)."""

import pandas as pd
import pytest
from services.paper import paper_world

pytestmark = pytest.mark.soak


def test_every_cell_of_the_grid_is_there(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    with paper_world(folder, tmp_path / "home") as world:
        code, printed = world.run()
    assert code == 0, printed[-5000:]
    tables = {path.stem: pd.read_csv(path) for path in folder.glob("results/tables/*.csv")}
    rows = {"detoxification": 4, "sentiment-positive": 8, "sentiment-negative": 8, "sentiment-ablation": 6}
    for name, count in rows.items():
        table = tables[name]
        dist = table[table["metric"] == "dist_1"]
        # What is not steered is drawn once, with the first seed.
        seeds = dist["seeds"].where(~dist["row"].str.startswith("Unsteered"), 3)
        assert len(dist) == 3 * count and set(seeds) == {3}, name
        assert set(table["model"]) == {"gpt2", "gpt2-medium", "gpt2-large"}
    assert (folder / "reports/index.html").exists()
