"""The notebooks of the docs run from first cell to last, with the embedded model (`make soak`; minutes each).

LM_STEER_NOTEBOOKS=1 make soak     # what they print is kept in the files, for the site
"""

import os

import nbformat
import pytest
from running import ROOT, places

nbclient = pytest.importorskip("nbclient", reason="needs nbclient (`make soak` installs it)")
FOLDER = ROOT / "workflow/docs/notebooks"


@pytest.mark.soak
@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.ipynb")))
def test_a_notebook_runs(tmp_path, monkeypatch, name):
    for variable, value in places(tmp_path, package=ROOT).items():
        if variable != "XDG_CACHE_HOME":  # downloads are kept
            monkeypatch.setenv(variable, value)
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=1200,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    if "LM_STEER_NOTEBOOKS" in os.environ:
        for cell in notebook.cells:
            # Progress lines, which hold times, are for whoever waits.
            if "outputs" in cell:
                cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        notebook.metadata.pop("widgets", None)
        notebook.metadata.language_info = {"name": "python"}
        nbformat.write(notebook, FOLDER / f"{name}.ipynb")
