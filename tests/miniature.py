"""A study in miniature: a tiny random model and texts of its own (`.test/`), through the real workflow."""

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import tiny
import yaml
from running import ROOT

STUDY = ROOT / ".test"


def make_model_folder(folder: Path) -> Path:
    """Save the tiny model as the hub lays one out."""
    tiny.make_model("llama-padded-vocabulary").save_pretrained(folder)
    tiny.make_tokenizer().save_pretrained(folder)
    return folder


def make_project(folder: Path) -> Path:
    """Copy the study with the workflow and the package, so that a test may edit any of it."""
    shutil.copytree(STUDY, folder)
    shutil.copy(ROOT / "Snakefile", folder)
    for name in ("workflow", "lm_steer", "envs"):
        # What is compiled already need not be compiled again; another process may be about to rename the rest.
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.pyc.*"))
    make_model_folder(folder / "model")
    return folder


@cache
def _read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def study_of(change: Any = None, *overlays: str) -> dict[str, Any]:
    """Return the study of `.test/config/` with further files of it and a change merged, as a user would give it."""
    study = _read(STUDY / "config/config.yaml")
    for name in overlays:
        study = changed(study, _read(STUDY / f"config/{name}.yaml"))
    return study if change is None else changed(study, change)


def changed(base: Any, change: Any) -> Any:
    """Merge a change into a config, key by key; None takes a key away, and {} empties a mapping."""
    if not isinstance(change, dict) or not isinstance(base, dict) or not change:
        return change
    merged = {key: value for key, value in base.items() if change.get(key, "") is not None}
    return merged | {key: changed(base.get(key), value) for key, value in change.items() if value is not None}
