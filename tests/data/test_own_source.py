"""The recipe for a source of a user's own: the module of the how-to, its name in a study, the command, the parquet."""

import re
from pathlib import Path
from textwrap import dedent

import pandas as pd
import pytest
from miniature import study_of
from typer.testing import CliRunner

from lm_steer import LMSteerError
from lm_steer.cli import app
from lm_steer.data.prompt_files import read_prompts
from lm_steer.study import plan
from lm_steer.study.config import read_study, resolved

PAGE = Path(__file__).parents[2] / "workflow/docs/own-source.md"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The folder of a study with the how-to's module and its texts."""
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    (tmp_path / "weather.py").write_text(code[1], encoding="utf-8")
    (tmp_path / "storm.py").write_text("{}['wind']\n", encoding="utf-8")
    reports = [f"{words},{number}" for number, words in enumerate(("Frost", "Sun", "Fog", "Sun!"))]
    (tmp_path / "reports.csv").write_text("report,celsius\n" + "\n".join(reports) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def made(command: str, options: list[str], output: Path) -> None:
    done = CliRunner().invoke(app, [command, *options, "--output", str(output)])
    assert done.exit_code == 0, done.output


def test_a_source_of_ones_own_reaches_the_files_of_a_study(folder):
    config = study_of(
        {
            "datasets": {"reports": {"source": "weather:Reports", "path": "reports.csv"}},
            "prompts": {"greetings": {"source": "weather:Greetings", "count": 2}},
        }
    )
    resolved(config).write("study.json")
    study = read_study("study.json")
    given = plan.dataset(study, "reports")
    assert given.inputs == ["reports.csv"]
    made("data", given.options, folder / "data")
    frame = pd.concat(pd.read_parquet(path) for path in sorted(folder.glob("data/*.parquet")))
    assert dict(zip(frame["text"], frame["label"], strict=True)) == {"Frost": 0, "Sun": 1 / 30, "Fog": 2 / 30}
    made("prompts", plan.prompts(study, "greetings").options, folder / "greetings.jsonl")
    assert read_prompts(folder / "greetings.jsonl") == ["Dear Ada,", "Dear Bo,"]


def test_a_dataset_that_ones_own_prompts_name_is_read_and_made_before(folder):
    code = """
    from lm_steer.data.sources import Prompts, key
    from lm_steer.util.blocks import DatasetName

    class Endings(Prompts):
        texts: DatasetName = key("The dataset.")

        def prompts(self):
            return []
    """
    (folder / "endings.py").write_text(dedent(code))
    datasets = {"reports": {"source": "weather:Reports", "path": "reports.csv"}}
    study = resolved(
        study_of({"datasets": datasets, "prompts": {"ends": {"source": "endings:Endings", "texts": "reports"}}})
    )
    given, path = plan.prompts(study, "ends"), "results/data/reports/test.parquet"
    assert given.inputs == [path] and given.options[:4] == ["--source", "endings:Endings", "--texts", path]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"source": "weather:Reports"}, "datasets.reports: 'path' is missing"),
        ({"source": "weather:Reports", "pth": "a"}, r"unknown key 'pth' \(did you mean 'path'"),
        ({"source": "weather:Greetings"}, "'weather:Greetings' is not a source of texts: expected a subclass of"),
        ({"source": "climate:Reports"}, "datasets.reports: 'climate:Reports' cannot be imported: No module"),
        ({"source": "storm:Reports"}, "datasets.reports: 'storm:Reports' cannot be imported: KeyError: 'wind'"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_source_that_is_none_is_named(block, message):
    with pytest.raises(LMSteerError, match=message):
        resolved(study_of({"datasets": {"reports": block}}))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--source", "weather:Reports"], "the source of texts 'weather:Reports': 'path' is missing"),
        (["--source", "weather:Reports", "--path", "reports.csv", "--seed", "3"], "has no key 'seed': it has path"),
        (["--source", "weather:Reports", "reports.csv"], "'reports.csv' belongs to no key"),
        (["--source", "weather:Reports", "--path", ""], "--path: a value is missing"),
        (["--source", "weather:Reports", "--path", " "], "--path: a value is missing"),
        (["--source", "weather:Reports", "--path", "a", "b"], "path: expected text"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_wrong_key_of_a_command_is_named(words, message):
    with pytest.raises(LMSteerError, match=message):
        CliRunner().invoke(app, ["data", *words, "--output", "out"], catch_exceptions=False)
    assert not Path("out").exists()
