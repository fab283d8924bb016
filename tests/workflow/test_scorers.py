"""Scorers from elsewhere in a study: a service on a stated subset, a classifier, and how well they agree."""

import json
from pathlib import Path

import pandas as pd
import tiny
from services.perspective import Perspective
from transformers import AutoModelForSequenceClassification, GPT2Config

LABELS = {0: "other", 1: "toxic"}
STUDY = ["--configfile", "config/config.yaml", "config/scorers.yaml"]


def prepare(project: Path) -> None:
    """Put the files beside the study that it names: a classifier, and texts with scores of their own."""
    config = GPT2Config(**tiny._GPT, id2label=LABELS, label2id={name: number for number, name in LABELS.items()})
    AutoModelForSequenceClassification.from_config(config).save_pretrained(project / "judge")
    tiny.make_tokenizer().save_pretrained(project / "judge")
    texts = [{"text": sentence, "toxicity": number / 6} for number, sentence in enumerate(tiny.SENTENCES)]
    lines = [json.dumps({"prompt": text, "continuation": text}) for text in texts]
    (project / "rtp.jsonl").write_text("\n".join(lines), encoding="utf-8")


def test_a_service_scores_its_subset_and_a_classifier_all(finished, snakemake, monkeypatch):
    prepare(finished)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Perspective() as service:
        monkeypatch.setenv("LM_STEER_PERSPECTIVE_URL", service.url)
        monkeypatch.setenv("GOOGLE_API_KEY", "not-the-key")
        refused = snakemake("scores", "--keep-going", *STUDY, succeeds=False).stdout
        assert "the service refuses the key" in refused and "Traceback" not in refused
        monkeypatch.setenv("GOOGLE_API_KEY", service.key)
        snakemake(*STUDY)
    tables = {name: pd.read_csv(finished / f"results/tables/{name}.csv") for name in ("effect", "service")}
    prompts = {name: set(table[table["metric"] == "avg_max_toxicity"]["n_prompts"]) for name, table in tables.items()}
    assert prompts == {"effect": {2}, "service": {1}}
    agreement = pd.read_csv(finished / "results/tables/agreement-rtp.csv")
    assert set(agreement["scorer"]) == {"local"} and set(agreement["n"]) == {len(tiny.SENTENCES)}
    page = (finished / "reports/index.html").read_text(encoding="utf-8")
    assert "It scored the first 1 prompt of each setting." in page
    assert "trained on the Jigsaw data of 2018 to 2020" in page
    assert "Nothing to be done" in snakemake(*STUDY).stdout
