"""The page: what was steered and by how much, tables, texts side by side, and the origin of every number.

    lm-steer report page -o reports/index.html            # from results/study.json and the results beside it

One self-contained HTML file. Everything on it comes from the study and its results: a study without steers, with
several models or with other scorers has a page too, and so has an unfinished run. It is complete without JavaScript;
page.js adds dials, sorting, filters and a window with each cell's record.
"""

import base64
import hashlib
from itertools import chain
from pathlib import Path

from markupsafe import Markup

from lm_steer.data import layout
from lm_steer.report import wording
from lm_steer.report.agreement import agreements
from lm_steer.report.analyses import analyses, seed_spreads
from lm_steer.report.cell_records import missing, records
from lm_steer.report.findings import claims, first_claims, steer_label
from lm_steer.report.provenance import provenance, weak_steers
from lm_steer.report.samples import SAMPLE_PROMPTS, UNSTEERED, dials, side_by_side
from lm_steer.report.study_figures import drawn
from lm_steer.report.table_layout import TEMPLATES, laid_out, templates
from lm_steer.study.config import Study, expanded
from lm_steer.tables.cells import edited, is_published, read_tables
from lm_steer.tables.metrics import named
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import replacing


def write_page(study: Study, results: Path, output: Path) -> None:
    """Write the page of a study from the results it has so far."""
    # Settings added by analyses have their own part of the page; those of sweeps also belong to the dials.
    plan, swept = study.written, expanded(study.written, ["sweeps"])[0]
    if not results.is_dir():
        raise LMSteerError(f"{results}: no such folder: pass the results of a run as --results")
    swept_tables = read_tables(swept, results)
    tables = {name: cells for name, cells in swept_tables.items() if name in plan.tables}
    cells, swept_cells = (list(chain(*some.values())) for some in (tables, swept_tables))
    findings = claims(tables, plan)
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    environment = templates(autoescape=True)
    filters = (wording.number, wording.signed, wording.interval, wording.typeset)
    environment.filters |= {function.__name__: function for function in filters}
    environment.tests |= {"compared": wording.compared, "published": is_published}
    environment.globals |= {"direction": wording.direction, "verdict": wording.verdict, "named": named}
    environment.globals["steer_label"] = steer_label
    html = environment.get_template("page.html").render(
        title=plan.title,
        study=plan,
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        weak_steers=weak_steers(plan),
        missing=missing(plan, results),
        edited=edited(results),
        first_claims=first_claims(findings),
        claims=findings,
        **drawn(swept, results, swept_cells),
        tables=[laid_out(name, tables[name], layout.table(results, name), plan) for name in tables],
        dials=dials(swept, results, swept_cells),
        unsteered=UNSTEERED,
        samples=side_by_side(plan, results),
        sample_count=SAMPLE_PROMPTS,
        agreements=agreements(plan, results),
        records=records(plan, results, cells),
        analyses=analyses(study, results),
        seed_spreads=seed_spreads(study, results),
        origin=provenance(plan, results, cells),
    )
    with replacing(output) as temporary:
        temporary.write_text(wording.printable(html), encoding="utf-8", newline="\n")
