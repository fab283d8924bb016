"""What is written twice is written from one place."""

import re
import runpy
from pathlib import Path

import yaml

from lm_steer.score.store import Item, ScoreStore
from lm_steer.study.config import resolved

ROOT = Path(__file__).parents[2]


def test_the_config_readme_and_the_schema_are_written_from_the_types_of_a_study():
    script = runpy.run_path(str(ROOT / "workflow/scripts/config_readme.py"))
    assert (ROOT / "config/README.md").read_text(encoding="utf-8") == script["document"](), "run `make docs`"
    schema = (ROOT / "workflow/schemas/config.schema.json").read_text(encoding="utf-8")
    assert schema == script["schema"](), "run `make docs`"


def test_the_repositorys_address_stands_in_one_place():
    script = runpy.run_path(str(ROOT / "workflow/scripts/address.py"))
    for path in (path for pattern in script["FILES"] for path in ROOT.glob(pattern)):
        text = path.read_text(encoding="utf-8")
        assert script["written"](text, script["address"]()) == text, f"{path.name}: run `make docs`"
    readme = script["written"]((ROOT / "README.md").read_text(encoding="utf-8"), "https://github.com/someone/lm-steer")
    assert "](https://github.com/someone/lm-steer/actions/workflows/tests.yml)" in readme


def test_every_study_of_the_project_is_a_study():
    for path in (ROOT / "config").glob("*.yaml"):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "models" in config:  # or it changes keys of another study
            resolved(config)


def test_the_scorer_of_the_how_to_scores(tmp_path):
    code, _ = re.findall(r"```python\n(.*?)```", (ROOT / "workflow/docs/own-scorer.md").read_text(), flags=re.DOTALL)
    names: dict = {}
    exec(code, names)
    items = [Item("The film", " was a joy"), Item("The film", " was extraordinary")]
    scorer = names["Formality"]().scorer()
    assert ScoreStore(tmp_path / "scores.sqlite").scores(scorer, items) == [(0.0,), (1.0,)]


def test_links_between_the_pages_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("config/*.md"), *ROOT.glob("workflow/docs/*.md")]:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
