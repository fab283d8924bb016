"""What the paper's study meets in miniature: Kaggle, the hub and Perspective as stand-ins, small files, tiny models."""

import json
import random
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import tiny
import torch
import yaml
from running import ROOT, places, run_snakemake
from services.forked import forked_commands
from services.hub import Hub
from services.kaggle import Kaggle
from services.perspective import RUDE, Perspective
from transformers import AutoModelForSequenceClassification, GPT2Config

from lm_steer.data.datasets.jigsaw import COMPETITION
from lm_steer.score.kinds.classifier import presets

STUDY = [ROOT / name for name in ("config/paper.yaml", "config/perspective.yaml", ".test/config/paper.yaml")]
PROMPTS = ("non-toxic", "neutral", "positive", "negative")
LABELS = {
    "roberta-toxicity": ("neutral", "toxic"),
    "granite-hap-38m": ("LABEL_0", "LABEL_1"),
    "sst2-distilbert": ("NEGATIVE", "POSITIVE"),
}


@dataclass(frozen=True)
class World:
    """The stand-ins, and the environment variables that lead the real clients to them."""

    kaggle: Kaggle
    hub: Hub
    perspective: Perspective
    folder: Path
    configs: list[Path]
    variables: dict[str, str]

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run the paper's study in the folder; return the exit code and what was printed."""
        place = ["--cores", "all", "--snakefile", str(ROOT / "Snakefile"), "--configfile", *map(str, self.configs)]
        run = run_snakemake(self.folder, *arguments, *place, **self.variables)
        return run.returncode, run.stdout


@contextmanager
def paper_world(folder: Path, home: Path) -> Iterator[World]:
    """Serve all that config/paper.yaml asks for, as long as the `with` lasts; `folder` is where the study runs."""
    study = yaml.safe_load(STUDY[0].read_text(encoding="utf-8"))
    write_hub(home / "hub", study)
    write_prompts(folder)
    with ExitStack() as stack:
        kaggle = stack.enter_context(Kaggle({COMPETITION: {"all_data.csv": write_comments(home)}}))
        hub = stack.enter_context(Hub(home / "hub"))
        hub.revisions |= {model["revision"] for model in study["models"].values()}
        hub.revisions |= {presets()[name].revision for name in LABELS} | set(pinned_data())
        perspective = stack.enter_context(Perspective())
        variables = {
            **kaggle.variables(home / "kaggle"),
            # The stand-in of Kaggle is a proxy for http://localhost; the others are asked without it.
            "no_proxy": "127.0.0.1",
            "NO_PROXY": "127.0.0.1",
            "HF_ENDPOINT": hub.address,
            "HF_HUB_CACHE": str(home / "hub-cache"),
            "LM_STEER_DOWNLOADS": str(home / "downloads"),
            "LM_STEER_RETRY_SECONDS": "0",
            "LM_STEER_PERSPECTIVE_URL": perspective.url,
            "GOOGLE_API_KEY": perspective.key,
        }
        # The client of the hub reads its variables at its import.
        commands = stack.enter_context(forked_commands(home, **variables))
        variables |= places(home, commands, ROOT)
        yield World(kaggle, hub, perspective, folder, STUDY, variables)


def pinned_data() -> list[str]:
    from lm_steer.data.datasets import jigsaw, sst5

    return [jigsaw.REVISION, sst5.REVISION]


def texts(count: int, seed: int, more: tuple[str, ...] = ()) -> list[str]:
    choose = random.Random(seed)
    return [" ".join(choose.choices([*tiny.WORDS, *more], k=choose.randint(6, 12))) for _ in range(count)]


def write_hub(folder: Path, study: dict) -> None:
    """Lay out the hub: a tiny model for each of the study's, a tiny classifier for each preset, and the datasets."""
    for model in study["models"].values():
        place = folder / model["id"]
        tiny.make_model("gpt2").save_pretrained(place)
        tiny.make_tokenizer().save_pretrained(place)
    for seed, (name, labels) in enumerate(LABELS.items()):
        torch.manual_seed(seed)
        config = GPT2Config(
            **tiny._GPT, id2label=dict(enumerate(labels)), label2id={label: i for i, label in enumerate(labels)}
        )
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder / presets()[name].id)
        tiny.make_tokenizer().save_pretrained(folder / presets()[name].id)
    sst5 = folder / "datasets/SetFit/sst5"
    sst5.mkdir(parents=True)
    for seed, split in enumerate(("train", "dev", "test")):
        rows = [{"text": text, "label": number % 5} for number, text in enumerate(texts(40, seed))]
        write_lines(sst5 / f"{split}.jsonl", rows)
    rtp = folder / "datasets/allenai/real-toxicity-prompts"
    rtp.mkdir(parents=True)
    scored = [{"text": text, "toxicity": number / 24} for number, text in enumerate(texts(24, 7))]
    scored[5]["toxicity"] = None
    write_lines(rtp / "prompts.jsonl", [{"prompt": text, "continuation": text} for text in scored])


def write_comments(folder: Path) -> Path:
    """Write all_data.csv as Kaggle has it: zipped, with quotes and line breaks within the comments."""
    rows = [
        {"id": number, "comment_text": f'{text}\n"quoted", {number}', "toxicity": (number % 4) / 4}
        for number, text in enumerate(texts(160, 9, tuple(RUDE)))
    ]
    path = folder / "storage/all_data.csv.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("all_data.csv", pd.DataFrame(rows).to_csv(index=False))
    return path


def write_prompts(folder: Path) -> None:
    for seed, name in enumerate(PROMPTS):
        prompts = [" ".join(text.split()[:4]) for text in texts(6, 20 + seed)]
        write_lines(folder / f"{name}.jsonl", [{"prompt": {"text": prompt}} for prompt in dict.fromkeys(prompts)])


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
