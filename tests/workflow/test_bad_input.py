"""Bad input: one clear message, a non-zero exit, no traceback, and no half-written file."""

import pytest
import yaml
from miniature import study_of


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"sampling": {"sample": 3}}, "sampling: unknown key 'sample' (did you mean 'samples'?)"),
        ({"sampling": {"samples": "many"}}, "sampling.samples: expected a whole number from 1 to"),
        ({"scorers": {"perplexity": {"model": "tinny"}}}, "there is no model 'tinny' (did you mean 'tiny'?)"),
        ({"settings": {"styled": {"steer": {"stile": {"style": 5}}}}}, "no steer 'stile' (did you mean 'style'?)"),
        ({"settings": {"styled": {"steer": {"style": {"tone": 5}}}}}, "the steer 'style' has no dimension 'tone'"),
        ({"settings": {"styled": {"prompts": "lots"}}}, "there is no set of prompts 'lots'"),
        ({"settings": {"styled": {"scorers": ["taste"]}}}, "there is no scorer 'taste'"),
    ],
)
def test_a_wrong_key_is_named(refusal, keys, message):
    assert message in refusal(keys)


def test_a_wrong_key_is_named_before_any_job(project, snakemake):
    result = snakemake("--config", "sampling={sample: 3}", succeeds=False)
    assert "sampling: unknown key 'sample' (did you mean 'samples'?)" in result.stdout
    assert "Traceback" not in result.stdout
    assert not (project / "results").exists()


def test_a_key_that_stands_twice_is_named_with_its_line(project, snakemake):
    config = project / "config/config.yaml"
    config.write_text("title: x\ntitle: y\n" + config.read_text(encoding="utf-8"), encoding="utf-8")
    result = snakemake("-n", succeeds=False)
    assert "config/config.yaml, line 2: the key 'title' occurs twice" in result.stdout


def test_a_bad_prompt_file_is_named(project, snakemake):
    (project / "prompts.jsonl").write_bytes(b'{"prompt": {"text": "a b"}}\n{"prompt": \n')
    study = study_of() | {"prompts": {"few": {"source": "file", "path": "prompts.jsonl"}}}
    (project / "config/config.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    result = snakemake("texts", succeeds=False)
    assert "prompts.jsonl, line 2: not valid JSON" in result.stdout
    assert "Traceback" not in result.stdout
    assert not list((project / "results").glob("prompts/*"))
