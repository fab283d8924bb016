import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import yaml
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from lm_steer import LMSteerError
from lm_steer.interop.lm_eval import SteeredLM

GOOD, BAD = tiny.SENTENCES[::2], tiny.SENTENCES[1::2]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with a model, a steer, and a task: is the first or the second sentence the more likely one?"""
    model = tiny.make_model("llama-padded-vocabulary")
    model.save_pretrained(tmp_path / "model")
    tiny.make_tokenizer().save_pretrained(tmp_path / "model")
    tiny.make_steer(model, epsilon=0.1).save_pretrained(tmp_path / "steer")
    rows = [{"q": "It says:", "a": f" {good}", "b": f" {bad}"} for good in GOOD for bad in BAD]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "which",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "data.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": ["{{a}}", "{{b}}"],
        "doc_to_target": 0,
        "metric_list": [{"metric": "acc"}],
    }
    (tmp_path / "which.yaml").write_text(yaml.safe_dump(task))
    return tmp_path


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def likelihoods(folder: Path, lm) -> list[float]:
    tasks = TaskManager(include_path=str(folder), include_defaults=False)
    found = simple_evaluate(lm, tasks=["which"], task_manager=tasks, bootstrap_iters=0)
    return [choice[0][0] for sample in found["samples"]["which"] for choice in sample["resps"]]


def test_tasks_see_the_steered_model(folder):
    options = {"pretrained": str(folder / "model"), "device": "cpu", "steer": str(folder / "steer")}
    plain, at_zero, steered = (
        likelihoods(folder, lm)
        for lm in (
            SteeredLM(**options),
            SteeredLM(**options, at="style=0"),
            SteeredLM(**options, at="style=5 corpus=1"),
        )
    )
    assert plain == at_zero and len(plain) == 2 * len(GOOD) * len(BAD)
    assert all(abs(a - b) > 1e-3 for a, b in zip(plain, steered, strict=True))


def test_the_harness_runs_it_by_name(folder):
    arguments = f"pretrained={folder / 'model'},steer={folder / 'steer'},at=style=5 corpus=1"
    run = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "lm_steer.interop.lm_eval",
                "run",
                "--model",
                "lm-steer",
                "--model_args",
                arguments,
            ),
            *("--tasks", "which", "--include_path", folder, "--device", "cpu", "--output_path", folder / "out"),
        ],
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    (written,) = (folder / "out").rglob("results_*.json")
    found = json.loads(written.read_text())
    assert 0 <= found["results"]["which"]["acc,none"] <= 1
    assert found["config"]["model_args"]["at"] == "style=5 corpus=1"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"at": "tone=5"}, "no dimension 'tone'"), ({"at": "style"}, "values are written"), ({"steer": "/none"}, "/none")],
)
def test_a_bad_steer_is_told_before_the_model_is_loaded(folder, options, message):
    with pytest.raises(LMSteerError, match=message):
        SteeredLM(**{"pretrained": "no/model", "steer": str(folder / "steer"), **options})
