"""What is written twice is written from one place."""

import runpy
from pathlib import Path

import yaml

from lm_steer.study import resolved

ROOT = Path(__file__).parents[2]
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))


def test_the_config_readme_is_written_from_the_schema():
    document = runpy.run_path(str(ROOT / "workflow/scripts/config_readme.py"))["document"]
    assert (ROOT / "config/README.md").read_text(encoding="utf-8") == document(SCHEMA), "run `make docs`"


def test_every_study_of_the_project_is_a_study():
    for path in (ROOT / "config").glob("*.yaml"):
        resolved(yaml.safe_load(path.read_text(encoding="utf-8")), SCHEMA)
