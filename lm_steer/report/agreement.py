"""The page's section on agreement: local toxicity scorers compared with Perspective, as a table and scatter plots.

agreements(study, results)              # the data of agreement.html; empty if the study has no such block
"""

from pathlib import Path
from typing import Any

from lm_steer.data import layout
from lm_steer.report.figures.planes import scatter
from lm_steer.report.table_layout import Column, downloads, latex
from lm_steer.study.config import Study
from lm_steer.util.errors import LMSteerError
from lm_steer.util.formats import read_csv, read_parquet

POINTS = 800
HEADINGS = {
    "spearman": "Spearman",
    "auc": "AUC at .5",
    "base_rate": "Share ≥ .5",
    "reference_rate": "Perspective's share ≥ .5",
    "threshold": "Matching threshold",
}


def agreements(study: Study, results: Path) -> list[dict[str, Any]]:
    """Return, for each judged set of texts, its figures by scorer and a plot for each scorer."""
    blocks = study.agreement
    files = [(name, layout.agreement_table(results, name), layout.agreement_scores(results, name)) for name in blocks]
    return [
        _agreement(name, blocks[name].scorers, table, scores)
        for name, table, scores in files
        if table.exists() and scores.exists()
    ]


def _agreement(name: str, scorers: list[str], table: Path, scores: Path) -> dict[str, Any]:
    frame = read_csv(table, ("scorer", "metric", "version"), ("n", "left_out"), gaps=("value", "low", "high"))
    for scorer in scorers:
        if (metrics := list(frame.loc[frame["scorer"] == scorer, "metric"])) != list(HEADINGS):
            raise LMSteerError(f"{table}: expected {[*HEADINGS]} of {scorer}, found {metrics}: write the table again")
    figures = {(row["scorer"], row["metric"]): row for row in frame.to_dict("records")}
    versions = dict(zip(frame["scorer"], frame["version"], strict=True))
    columns = [Column(name, metric, heading, 3) for metric, heading in HEADINGS.items()]
    cells = {("", scorer, name, metric): figure for (scorer, metric), figure in figures.items()}
    title = f"Agreement with Perspective on {name}. Brackets: 95 % intervals from a bootstrap over texts"
    tex = latex(title, columns, {"": list(versions)}, cells)
    pairs = read_parquet(scores, ["reference", *scorers])
    shown = pairs.head(POINTS)
    return {
        "name": name,
        "n": int(frame["n"].iloc[0]),
        "left_out": int(frame["left_out"].iloc[0]),
        "headings": HEADINGS,
        "versions": versions,
        "figures": figures,
        "first": POINTS if len(pairs) > POINTS else 0,
        "plots": {
            scorer: scatter(
                f"{name}: scores by {scorer} against Perspective's. The figures are in the table.",
                shown["reference"],
                shown[scorer],
                ("Perspective", scorer),
            )
            for scorer in scorers
        },
        **downloads(table, tex),
    }
