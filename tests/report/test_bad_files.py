"""What is shown comes from files that may have been edited or damaged: they are named, never shown in silence."""

import json
import shutil

import pandas as pd
import pytest

from lm_steer import LMSteerError
from lm_steer.report.compare import compare
from lm_steer.report.page import write_page
from lm_steer.report.provenance import write_record
from lm_steer.report.study_figures import write_figures
from lm_steer.report.table_layout import Column, latex
from lm_steer.study import plan
from lm_steer.study.config import read_study
from lm_steer.tables.cells import read_cells
from lm_steer.tables.table import write_table
from lm_steer.util.files import sha256_of, write_json
from lm_steer.util.formats import harmless


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def results(made, make_results, study_of, tmp_path):
    """A folder of results; the study is made once, and copied."""
    study = study_of()
    if not (made / "results").exists():
        shutil.copytree(make_results(study), made / "results")
        study.write(made / "results/study.json")
        shutil.rmtree(tmp_path / "results")
    return shutil.copytree(made / "results", tmp_path / "results")


def shown(results):
    write_page(read_study(results / "study.json"), results, results.parent / "index.html")
    return (results.parent / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("value", "high", "row 1, column value: expected a finite number, found 'high'"),
        ("low", "inf", "row 1, column low: expected a finite number, found 'inf'"),
        ("n_prompts", "", "row 1, column n_prompts: expected a finite number, found ''"),
        ("metric", "charm", "row 1: unknown metric 'charm'"),
        ("setting", "other", "row 1: unknown setting 'other'"),
        ("version", None, "has no column 'version'"),
    ],
)
def test_a_table_that_was_edited_is_named(results, column, value, message):
    path = results / "tables/manners.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    if value is None:
        frame = frame.drop(columns=column)
    else:
        frame.loc[0, column] = value
    frame.to_csv(path, index=False)
    study = read_study(results / "study.json")
    with pytest.raises(LMSteerError, match=f"manners.csv.*{message}"):
        read_cells(path, study)
    with pytest.raises(LMSteerError, match=f"manners.csv.*{message}"):
        compare(results, results)
    with pytest.raises(LMSteerError, match=f"manners.csv.*{message}"):
        write_figures(study, results, results.parent / "figures")
    assert not (results.parent / "figures").exists()


def test_a_row_that_repeats_another_is_named(results):
    path = results / "tables/manners.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(LMSteerError, match=r"manners\.csv, row \d+ repeats an earlier one"):
        read_cells(path)


def test_the_page_says_which_tables_are_not_those_on_record(results, capsys):
    path = results / "tables/mood.csv"
    tables = {f"results/tables/{one.name}": sha256_of(one) for one in (results / "tables").glob("*.csv")}
    record = {"recorded_at": "2026-01-01", "versions": {}, "inputs": {}, "seconds": 1, "steps": [], "tables": tables}
    record["hardware"] = {"cores": 1, "processor": "x", "memory_mb": 1, "gpus": []}
    record["git"] = ""
    write_json(results / "run.json", record)
    warning = "Some tables differ from the recorded run."
    assert warning not in shown(results)
    path.write_text(path.read_text().replace("0.", "0.9", 1))
    assert warning in shown(results)
    assert "mood.csv differs from the record of the run" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["null", "[]", "{}", "{", '{"title": 5}'])
def test_a_study_of_another_form_is_named(results, content):
    (results / "study.json").write_text(content)
    with pytest.raises(LMSteerError, match=r"study\.json"):
        read_study(results / "study.json")
    with pytest.raises(LMSteerError, match=r"study\.json"):
        compare(results, results)


@pytest.mark.parametrize("key", ["seeds", "settings", "tables", "scorers", "prompts", "steers", "models", "analyses"])
@pytest.mark.parametrize("value", [None, [None], {"a": None}, "x"])
def test_a_key_of_another_form_is_named(results, key, value):
    path = results / "study.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(LMSteerError, match=rf"study.json: .*\b{key}\b"):
        read_study(path)


@pytest.mark.parametrize("content", ["", "s\tmax_rss\tcpu_time\n", "a\tb\n1\t2\n"])
def test_a_damaged_benchmark_is_named_by_page_and_record(results, content):
    path = results / "benchmarks/train/tiny.tsv"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    study = read_study(results / "study.json")
    for use in (lambda: shown(results), lambda: write_record(study, results, results / "r.json", results / "b.csv")):
        with pytest.raises(LMSteerError, match=r"tiny\.tsv"):
            use()
    assert not (results / "r.json").exists() and not (results / "b.csv").exists()


def damaged_scores(frame, how):
    if how == "a text":
        return frame.assign(toxicity="high")
    if how == "infinite":
        return frame.assign(toxicity=float("inf"))
    if how == "a column less":
        return frame.drop(columns="prompt")
    if how == "a row twice":
        return pd.concat([frame, frame.iloc[:1]])
    return frame.iloc[1:] if how == "a row less" else frame.iloc[:0]


@pytest.mark.parametrize("how", ["a text", "infinite", "a column less", "a row twice", "a row less", "empty"])
def test_damaged_scores_are_named(results, study_of, how):
    path = results / "scores/tiny/toxicity.parquet"
    damaged_scores(pd.read_parquet(path), how).to_parquet(path)
    with pytest.raises(LMSteerError, match=r"toxicity"):
        write_table(plan.table(study_of(), "manners").part, results, results / "t.csv")


def test_what_a_spreadsheet_would_run_is_text_in_a_download(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('word,x\n"=HYPERLINK(""a"")",-1.5e-3\n@me,+2\n-,.5\nplain,-7\n')
    assert harmless(path).decode() == 'word,x\n"\'=HYPERLINK(""a"")",-1.5e-3\n\'@me,+2\n\'-,.5\nplain,-7\n'
    path.write_text('word,x\n"plain",-1\n')
    assert harmless(path) == path.read_bytes()


def test_no_line_of_a_title_leaves_its_comment():
    cells = {("", "d\n\ne", "", "x"): {"value": 1, "low": 0, "high": 2}}
    table = latex("a\n\\input{b}\r\u2028c", [Column("", "x", "x\ny", 1)], {"": ["d\n\ne"]}, cells)
    assert table.splitlines()[0].startswith("% a \\input{b} c. Needs")
    assert all("\\input" not in line for line in table.splitlines()[1:])
