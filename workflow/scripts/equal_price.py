"""Sentiment on a chat model, each method at the same price: KL(steered ‖ unsteered) of half a nat per token.

    python workflow/scripts/equal_price.py results equal-price      # after the embedded study; prints a table

Compares the study's LM-Steer, training-free steers from the texts that it drew, and a system message, which has no
value to choose, on answers of SmolLM2-135M-Instruct to questions that ask for no mood. For every method, the price is
measured on the unsteered model's own answers.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lm_steer import LMSteerError, Steer, calibrate, evaluate, generate, load_model
from lm_steer.model.chat import chat_prompt
from lm_steer.model.load import LoadedModel
from lm_steer.training.learn import Recipe, learn
from lm_steer.training.texts import LabelledTexts

NATS, STEPS, BATCH = 0.5, 100, 16
THINGS = ("a film", "a meal", "a book", "a hotel", "a concert", "a train journey", "a new phone", "a football match")
QUESTIONS = [
    f"{start} {thing}."
    for start in ("Write two sentences about", "Describe", "Tell a friend about")
    for thing in THINGS
]
SYSTEM = "You are a cheerful assistant who always writes in a very positive way."
METRICS = ("positivity", "perplexity", "dist_2")


def steers(results: Path, loaded: LoadedModel) -> dict[str, Steer]:
    """Return a steer for each method that has a value."""
    table = pd.read_parquet(results / "data/snippets/train.parquet")
    texts = LabelledTexts(list(table["text"]), list(table["label"]))
    ways = {"LM-Steer": Steer.from_pretrained(results / "steers/smollm2/sentiment/seed0")}
    for name, kind in (("difference of means", "add"), ("log-odds of tokens", "offset")):
        recipe = Recipe(("sentiment",), kind=kind, training_free=True, steps=STEPS, batch_size=BATCH, epsilon=1.0)
        ways[name], _ = learn(loaded, texts, texts.at(range(64)), recipe, results / ".cache")
    return ways


def main(results: Path, output: Path) -> None:
    """Answer the questions with each method, score the answers, and print the table."""
    loaded = load_model(results / "models/smollm2")
    sampling = {"chat": True, "samples": 5, "new_tokens": 30, "top_p": 0.9}
    plain = generate(loaded.model, loaded.tokenizer, QUESTIONS, **sampling)
    prompts = [chat_prompt(loaded.tokenizer, question) for question in QUESTIONS for _ in range(sampling["samples"])]
    answers = [answer for each in plain for answer in each]
    texts, values = {"unsteered": plain}, {}
    for name, steer in steers(results, loaded).items():
        for side, sign in (("more", 1), ("less", -1)):
            way = f"{name}, {side} positive"
            try:
                curve = calibrate(steer, loaded, answers, "sentiment", prompts=prompts, at_kl=NATS)
            except LMSteerError as error:
                print(f"{way}: {error}", file=sys.stderr)
                continue
            values[way] = curve.at_kl(NATS, sign)
            at = {"sentiment": values[way]}
            texts[way] = generate(loaded.model, loaded.tokenizer, QUESTIONS, steer, at, **sampling)
    texts["system message"] = generate(loaded.model, loaded.tokenizer, QUESTIONS, system=SYSTEM, **sampling)
    judges = {"perplexity": str(results / "models/smollm2")}
    print(markdown(judged(texts, ["sentiment", "perplexity", "dist-n"], judges, output), METRICS, {"value": values}))


def judged(texts: dict[str, list[list[str]]], metrics: list[str], judges: dict[str, str], output: Path) -> pd.DataFrame:
    """Write the answers of each method, the unsteered ones first, and a table of their metrics; return the table."""
    files = {way: output / f"{way}.jsonl" for way in texts}
    output.mkdir(parents=True, exist_ok=True)
    for way, answers in texts.items():
        rows = (
            {"prompt": {"text": question, "chat": True}, "generations": [{"text": text} for text in samples]}
            for question, samples in zip(QUESTIONS, answers, strict=True)
        )
        files[way].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    table = evaluate(list(files.values()), metrics, judges, against=next(iter(files.values())))
    table.to_csv(output / "table.csv", index=False)
    return table


def markdown(table: pd.DataFrame, metrics: Sequence[str], columns: dict[str, dict[str, float]]) -> str:
    """Return a row per method: the extra columns, then each metric with its interval."""
    ways = table["file"].map(lambda file: Path(file).stem)
    cells = [f"{one.value:.3g} ({one.low:.3g} to {one.high:.3g})" for one in table.itertuples()]
    grid = table.assign(way=ways, cell=cells).pivot(index="way", columns="metric", values="cell")
    grid = grid.loc[ways.unique(), list(metrics)]
    for name, values in columns.items():
        grid.insert(0, name, [f"{values[way]:.3g}" if way in values else "–" for way in grid.index])
    return grid.to_markdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
