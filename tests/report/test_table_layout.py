import base64

import pytest

from lm_steer.report.table_layout import escaped, laid_out
from lm_steer.tables.cells import read_tables


@pytest.fixture
def table(make_results, study_of):
    """The laid-out table of a published row."""
    published = {
        "table": "detoxification",
        "rows": {"Mild": "LM-Steer gpt2-large"},
        "metrics": {"rude": {"avg_max_toxicity": "avg_max_toxicity", "dist_1": "dist_1"}},
    }
    study = study_of(tables={"manners": {"published": published}})
    results = make_results(study)
    cells = read_tables(study, results)["manners"]
    return laid_out("manners", cells, results / "tables/manners.csv", study)


def test_latex_has_a_cell_for_each_column_and_the_published_value(table):
    lines = base64.b64decode(table["latex"]).decode().splitlines()
    rows = [line for line in lines if line.startswith(("Unsteered &", "Mild &", "Setting &"))]
    assert {row.count("&") for row in rows} == {6}
    group = table["groups"][0]
    assert group["first"] == ["avg_max_toxicity", "perplexity", "dist_3"]
    assert group["rest"] == ["toxicity_probability", "dist_1", "dist_2"]
    mild = next(row for row in rows if row.startswith("Mild"))
    assert r"{\scriptsize [" in mild and "(published 0.249)" in mild and mild.endswith(r"\\")
    assert lines.count(r"\midrule") == 1 and lines[-1] == r"\end{tabular}"
    assert "% Scored by profanity-check (profanity-check 1)." in lines


def test_what_latex_reads_otherwise_is_escaped():
    assert escaped("a_b & 5 % − $") == r"a\_b \& 5 \% $-$ \$"


def test_a_cell_knows_its_scorer(table):
    cell = table["cells"]["tiny", "Mild", "rude", "avg_max_toxicity"]
    assert cell["judge"] == "toxicity"
    assert table["cells"]["tiny", "Mild", "rude", "perplexity"]["judge"] == "perplexity"
    assert table["cells"]["tiny", "Mild", "rude", "dist_2"]["judge"] == "dist-n"
    assert cell["verdict"] == "not comparable"
