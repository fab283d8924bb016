import json
import shutil
from dataclasses import asdict

import pandas as pd
import pytest

from lm_steer.report.compare import UNEXPLAINED, as_text, compare
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import write_json


@pytest.fixture
def runs(make_results, study_of, tmp_path):
    """Two folders of one run, and its study."""
    first = make_results(study_of())
    study_of().write(first / "study.json")
    shutil.copytree(first, tmp_path / "second")
    return first, tmp_path / "second"


def edit_cells(results, table, **changes) -> None:
    """Change the average maximum toxicity of the steered row."""
    path = results / "tables" / f"{table}.csv"
    frame = pd.read_csv(path)
    chosen = (frame["metric"] == "avg_max_toxicity") & (frame["row"] == "Mild")
    for column, value in changes.items():
        frame.loc[chosen, column] = value
    frame.to_csv(path, index=False)


def test_a_run_is_as_itself(runs):
    comparison = compare(*runs)
    assert not comparison.moved and not comparison.study and comparison.still > 20
    assert "0 of" in as_text(comparison) and "The studies are the same." in as_text(comparison)


def test_a_cell_that_moved_is_named_with_the_key_that_differs(runs, study_of):
    first, second = runs
    edit_cells(second, "manners", value=0.9, low=0.85, high=0.95)
    steer = {"mild-rude": {"steer": {"detox": {"detox": 9}}}}
    study_of(settings=steer, steers={"mood": {"steps": 31}}).write(second / "study.json")
    comparison = compare(first, second)
    (cell,) = comparison.moved
    assert (cell.table, cell.row, cell.metric) == ("manners", "Mild", "avg_max_toxicity")
    # The other steer's key is no reason for this cell.
    assert cell.reasons == ("settings.mild-rude.steer.detox.detox: 5 → 9",)
    assert "steers.mood.steps: 30 → 31" in comparison.study
    assert "→ 0.900 (0.850 to 0.950)" in as_text(comparison)


def test_a_value_within_the_other_interval_did_not_move(runs):
    first, second = runs
    edit_cells(second, "manners", value=0.9, low=0.1, high=0.95)
    assert not compare(first, second).moved


def test_another_scorer_is_a_reason_and_nothing_recorded_is_said(runs):
    first, second = runs
    edit_cells(second, "manners", value=0.9, low=0.85, high=0.95)
    for folder, torch in ((first, "2.12"), (second, "2.13")):
        write_json(folder / "run.json", {"recorded_at": torch, "versions": {"torch": torch}, "git": "abc"})
    comparison = compare(first, second)
    assert comparison.moved[0].reasons == (UNEXPLAINED,) and comparison.made_by == ("versions.torch: 2.12 → 2.13",)
    assert "The records of the runs differ in:\n  versions.torch: 2.12 → 2.13" in as_text(comparison)
    edit_cells(second, "manners", version="profanity-check 2")
    assert compare(first, second).moved[0].reasons == ("version: profanity-check 1 → profanity-check 2",)


def test_cells_of_one_run_alone_are_told(runs):
    first, second = runs
    (second / "tables/mood.csv").unlink()
    comparison = compare(first, second)
    assert {place[0] for place in comparison.only_first} == {"mood"} and not comparison.only_second
    assert "in the rows mood: Unsteered; mood: Glad." in as_text(comparison)
    json.dumps(asdict(comparison))


def test_a_folder_without_a_run_is_an_error(runs, tmp_path):
    with pytest.raises(LMSteerError, match=r"has no study\.json"):
        compare(runs[0], tmp_path)
    shutil.rmtree(runs[1] / "tables")
    with pytest.raises(LMSteerError, match="none of the tables"):
        compare(runs[0], runs[1])
