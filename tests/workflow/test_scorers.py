"""Scorers from elsewhere in a study: a service on a stated subset, a classifier, and how well they agree."""

import json

import pandas as pd
import pytest
import tiny
import yaml
from services.perspective import Perspective
from transformers import AutoModelForSequenceClassification, GPT2Config

LABELS = {0: "other", 1: "toxic"}


@pytest.fixture
def classifier(tmp_path) -> str:
    config = GPT2Config(**tiny._GPT, id2label=LABELS, label2id={name: number for number, name in LABELS.items()})
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "judge")
    tiny.make_tokenizer().save_pretrained(tmp_path / "judge")
    return str(tmp_path / "judge")


def write_study(project, classifier: str) -> None:
    path = project / "config/config.yaml"
    study = yaml.safe_load(path.read_text(encoding="utf-8"))
    study["scorers"] = {
        "local": {
            "kind": "classifier",
            "preset": "roberta-toxicity",
            "source": "folder",
            "id": classifier,
        },
        "service": {"kind": "perspective", "prompts": 2, "queries_per_second": 1000},
    }
    for setting in study["settings"].values():
        setting["scorers"] = ["local", "service"]
    rows = study["tables"].pop("effect")["rows"]
    study["tables"] = {f"by-{name}": {"title": name, "rows": rows, "scorers": [name]} for name in study["scorers"]}
    study["agreement"] = {"rtp": {"paths": ["rtp.jsonl"], "scorers": ["local"]}}
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    texts = [{"text": sentence, "toxicity": number / 6} for number, sentence in enumerate(tiny.SENTENCES)]
    lines = [json.dumps({"prompt": text, "continuation": text}) for text in texts]
    (project / "rtp.jsonl").write_text("\n".join(lines), encoding="utf-8")


def test_a_service_scores_its_subset_and_a_classifier_all(finished, snakemake, classifier, monkeypatch):
    project = finished
    write_study(project, classifier)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Perspective() as service:
        monkeypatch.setenv("LM_STEER_PERSPECTIVE_URL", service.url)
        monkeypatch.setenv("GOOGLE_API_KEY", "not-the-key")
        refused = snakemake("scores", "--keep-going", succeeds=False).stdout
        assert "Perspective refuses the key" in refused and "Traceback" not in refused
        monkeypatch.setenv("GOOGLE_API_KEY", service.key)
        snakemake()
    tables = {name: pd.read_csv(project / f"results/tables/by-{name}.csv") for name in ("local", "service")}
    prompts = {name: set(table[table["metric"] == "avg_max_toxicity"]["n_prompts"]) for name, table in tables.items()}
    assert prompts == {"local": {6}, "service": {2}}
    agreement = pd.read_csv(project / "results/tables/agreement-rtp.csv")
    assert set(agreement["scorer"]) == {"local"} and set(agreement["n"]) == {len(tiny.SENTENCES)}
    page = (project / "reports/index.html").read_text(encoding="utf-8")
    assert "It scored the first 2 prompts of each setting." in page
    assert "Trained on the Jigsaw data of 2018 to 2020" in page
    assert "Nothing to be done" in snakemake().stdout
