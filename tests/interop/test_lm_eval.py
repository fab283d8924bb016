import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import tiny
import yaml
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from lm_steer import LMSteerError
from lm_steer.interop.lm_eval import SteeredLM, write_task

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
        "doc_to_choice": "{{[a, b]}}",
        "doc_to_target": 0,
        "metric_list": [{"metric": "acc"}],
    }
    (tmp_path / "which.yaml").write_text(yaml.safe_dump(task))
    return tmp_path


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def likelihoods(folder: Path, lm, **options) -> list[float]:
    tasks = TaskManager(include_path=str(folder), include_defaults=False)
    found = simple_evaluate(lm, tasks=["which"], task_manager=tasks, bootstrap_iters=0, **options)
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
    arguments = f"pretrained={folder / 'model'},steer={folder / 'steer'},at=style=5 corpus=1,device=cpu"
    by_name = likelihoods(folder, "lm-steer", model_args=arguments)
    options = {"pretrained": str(folder / "model"), "device": "cpu", "steer": str(folder / "steer")}
    assert by_name == likelihoods(folder, SteeredLM(**options, at="style=5 corpus=1"))


# The harness reads thousands of tasks of its own first.
@pytest.mark.soak
def test_the_command_of_the_harness_runs_it(folder):
    arguments = f"pretrained={folder / 'model'},steer={folder / 'steer'},at=style=5 corpus=1"
    command = f"{sys.executable} -m lm_steer.interop.lm_eval run --model lm-steer".split()
    options = ["--model_args", arguments, "--tasks", "which", "--device", "cpu"]
    folders = ["--include_path", folder, "--output_path", folder / "out"]
    run = subprocess.run([*command, *options, *folders], env=os.environ, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    (written,) = (folder / "out").rglob("results_*.json")
    found = json.loads(written.read_text())
    assert 0 <= found["results"]["which"]["acc,none"] <= 1
    assert found["config"]["model_args"]["at"] == "style=5 corpus=1"
    with pytest.raises(LMSteerError, match="no task 'witch'"):
        write_task(folder / "model", [], "witch", folder / "out.parquet", include=str(folder))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"at": "tone=5"}, "no dimension 'tone'"),
        ({"at": "style"}, "a name and its value"),
        ({"steer": "/none"}, "/none"),
    ],
)
def test_a_bad_steer_is_told_before_the_model_is_loaded(folder, options, message):
    with pytest.raises(LMSteerError, match=message):
        SteeredLM(**{"pretrained": "no/model", "steer": str(folder / "steer"), **options})


def test_a_task_is_measured_under_the_steers_of_each_setting(folder):
    words = sorted({word for sentence in tiny.SENTENCES for word in sentence.split()})[:7]
    rows = [{"q": "It says:", "a": f" {one}", "b": f" {other}"} for one in words for other in words if one < other]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    # As tasks have them that read an answer strictly and leniently.
    first = {"filter": [{"function": "take_first"}]}
    task = yaml.safe_load((folder / "which.yaml").read_text())
    task["filter_list"] = [{"name": "strict", **first}, {"name": "lenient", **first}]
    (folder / "which.yaml").write_text(yaml.safe_dump(task))
    steers = [{}, {str(folder / "steer"): {"style": 50, "corpus": 1}}, {}]
    measured = [{"file": f"{number}.jsonl", "steers": one} for number, one in enumerate(steers)]
    write_task(folder / "model", measured, "which", folder / "out.parquet", include=str(folder))
    frame = pd.read_parquet(folder / "out.parquet")
    plain, steered, again = (rows["acc"].to_list() for _, rows in frame.groupby("file"))
    assert plain == again != steered and set(plain + steered) == {0.0, 1.0}
    assert len(plain) == len(rows) and frame["version"].nunique() == 1
    with pytest.raises(LMSteerError, match="'which' has no numeric metric 'f1': it has acc"):
        write_task(folder / "model", measured[:1], "which", folder / "out.parquet", "f1", include=str(folder))
