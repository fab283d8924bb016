import json
from pathlib import Path

import pytest
import tiny

from lm_steer import LMSteerError
from lm_steer.core.attach import attach
from lm_steer.core.steer import compose
from lm_steer.data.prompt_files import read_generations
from lm_steer.generation.continuations import Sampling, continuations
from lm_steer.generation.jobs import Job, load_steer, run_jobs, steers_at
from lm_steer.util.files import read_jsonl, write_jsonl

PROMPTS = ["The movie", "A warm and funny story", "What a waste"]
SAMPLING = Sampling(samples=2, new_tokens=5)


@pytest.fixture
def study(loaded, tmp_path) -> Path:
    """A folder with two steers and a prompt file whose rows carry a key of their own."""
    tiny.make_steer(loaded.model).save_pretrained(tmp_path / "one")
    tiny.make_steer(loaded.model, seed=1, rank=2).save_pretrained(tmp_path / "two")
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": {"text": text, "toxicity": 0.1}} for text in PROMPTS])
    return tmp_path


def job(study: Path, name: str, **steers: dict[str, float]) -> Job:
    folders = {str(study / folder): values for folder, values in steers.items()}
    return Job(study / f"{name}.jsonl", study / "prompts.jsonl", folders)


def run(study: Path, loaded, *jobs: Job, sampling: Sampling = SAMPLING) -> list[list[list[str]]]:
    run_jobs(jobs, lambda: loaded, sampling, study / "cache")
    return [read_generations(one.output)[1] for one in jobs]


def test_jobs_are_the_generations_of_their_steers(loaded, study):
    jobs = [
        job(study, "plain"),
        job(study, "one", one={"style": 3.0, "corpus": 1.0}),
        job(study, "both", one={"style": 3.0}, two={"corpus": -2.0}),
    ]
    plain, one, both = run(study, loaded, *jobs)
    assert plain == continuations(loaded, PROMPTS, SAMPLING, "test")
    handle = attach(loaded.model, tiny.make_steer(loaded.model))
    with handle.at(style=3, corpus=1):
        assert one == continuations(loaded, PROMPTS, SAMPLING, "test")
    handle.remove()
    steers = {"a": tiny.make_steer(loaded.model), "b": tiny.make_steer(loaded.model, seed=1, rank=2)}
    with attach(loaded.model, compose(steers)).at({"a.style": 3, "b.corpus": -2}):
        assert both == continuations(loaded, PROMPTS, SAMPLING, "test")
    assert plain != one != both


def test_rows_keep_their_keys_and_order(loaded, study):
    run(study, loaded, job(study, "plain"))
    rows = read_jsonl(study / "plain.jsonl")
    assert [row["prompt"] for row in rows] == [{"text": text, "toxicity": 0.1} for text in PROMPTS]
    assert all(len(row["generations"]) == SAMPLING.samples for row in rows)


def test_a_job_does_not_depend_on_the_jobs_before_it(loaded, study):
    steered, plain = job(study, "steered", one={"style": 5.0}), job(study, "plain")
    _, after = run(study, loaded, steered, plain)
    assert run(study, loaded, plain)[0] == after


def test_a_job_run_again_writes_the_same_bytes(loaded, study):
    steered = job(study, "steered", one={"style": 5.0})
    run(study, loaded, steered)
    first = steered.output.read_bytes()
    run(study, loaded, steered)
    assert steered.output.read_bytes() == first


@pytest.mark.parametrize("change", [{"epsilon": 0.5}, {"dimensions": ["corpus", "style"]}])
def test_parts_of_a_steer_whose_config_changed_are_not_taken(loaded, study, change):
    steered = job(study, "steered", one={"style": 5.0})
    (before,) = run(study, loaded, steered)
    config = study / "one" / "steer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    (after,) = run(study, loaded, steered)
    assert after != before


def test_the_model_is_left_without_a_steer_after_a_failure(loaded, study):
    long = "the" + " the" * 70
    write_jsonl(study / "prompts.jsonl", [{"prompt": {"text": long}}])
    steered = job(study, "steered", one={"style": 5.0})
    with pytest.raises(LMSteerError, match="context"):
        run(study, loaded, steered)
    assert not steered.output.exists()
    attach(loaded.model, tiny.make_steer(loaded.model))


@pytest.mark.parametrize("bad", [{"nowhere": {"style": 1.0}}, {"two": {"tone": 1.0}}])
def test_a_bad_job_is_found_before_the_model_is_loaded(study, bad):
    def load():
        raise AssertionError("loaded")

    with pytest.raises(LMSteerError):
        run_jobs([job(study, "plain"), job(study, "bad", **bad)], load, SAMPLING, study / "cache")


def test_steers_and_their_values_are_read():
    values = steers_at(["steers/detox", "steers/mood"], ["detox=5 corpus=1", "sentiment=-2.5"])
    assert values == {"steers/detox": {"detox": 5.0, "corpus": 1.0}, "steers/mood": {"sentiment": -2.5}}
    assert steers_at([], []) == {}


def test_one_steer_keeps_the_names_of_its_dimensions(study):
    steer, values = load_steer({str(study / "one"): {"style": 2.0}})
    assert (steer.dimensions, values) == (("style", "corpus"), {"style": 2.0})
