"""The page's section on agreement: how local scorers of toxicity stand to Perspective, as a table and a scatter plot.

agreements(study, results)              # what agreement.html shows; nothing where the study has no such block
"""

from pathlib import Path
from typing import Any

from lm_steer.report.figures.planes import scatter
from lm_steer.report.table_layout import downloads, plain_latex
from lm_steer.report.wording import number
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
    """Return, for each set of texts that was judged, its figures by scorer, and a plot for each of its scorers."""
    return [
        _agreement(name, block.scorers, results)
        for name, block in study.agreement.items()
        if (results / "tables" / f"agreement-{name}.csv").exists()
        and (results / "agreement" / f"{name}.parquet").exists()
    ]


def _agreement(name: str, scorers: list[str], results: Path) -> dict[str, Any]:
    texts, numbers = ("scorer", "metric", "version"), ("n", "left_out")
    table = results / "tables" / f"agreement-{name}.csv"
    frame = read_csv(table, texts, numbers, gaps=("value", "low", "high"))
    pairs = read_parquet(results / "agreement" / f"{name}.parquet", ["reference", *scorers])
    for scorer in scorers:
        if list(frame.loc[frame["scorer"] == scorer, "metric"]) != list(HEADINGS):
            raise LMSteerError(f"{table} lacks figures of {scorer}, or has them twice: make the table again")
    rows = [
        {
            "scorer": scorer,
            "version": group["version"].iloc[0],
            "figures": group.set_index("metric").loc[list(HEADINGS)].to_dict("records"),
        }
        for scorer, group in frame.groupby("scorer", sort=False)
    ]
    shown = pairs.head(POINTS)
    plots = [
        {
            "caption": f"{scorer} against Perspective" + (f", the first {POINTS} texts" if len(pairs) > POINTS else ""),
            "svg": scatter(
                f"{name}: the score by {scorer} against Perspective's. The figures are in the table.",
                shown["reference"],
                shown[scorer],
                ("Perspective", scorer),
            ),
        }
        for scorer in scorers
    ]
    counts = {"n": int(frame["n"].iloc[0]), "left_out": int(frame["left_out"].iloc[0])}
    shown_rows = [[row["scorer"], *map(_figure, row["figures"])] for row in rows]
    latex = plain_latex(f"Agreement with Perspective on {name}", ["Scorer", *HEADINGS.values()], shown_rows)
    files = downloads(results / "tables" / f"agreement-{name}.csv", latex)
    return {"name": name, "headings": list(HEADINGS.values()), "rows": rows, "plots": plots, **counts, **files}


def _figure(figure: dict[str, Any]) -> str:
    return "{} [{}, {}]".format(*(number(figure[key], 3) for key in ("value", "low", "high")))
