"""Ablation: two steers composed by the sum of their maps, or by the sum of their factors.

    python workflow/scripts/composition.py results composition      # after the embedded study; prints a table

The paper adds maps, I + ε Σ vₖ AₖBₖᵀ. "Steering Tokens" (arXiv 2601.05062, appendix H.2) composes LM-Steer by adding
the factors before multiplying them, I + ε (Σ vₖ Aₖ)(Σ Bₖ)ᵀ, which also has the cross terms vⱼ AⱼBₖᵀ. This compares
both methods with the study's two steers, on the same prompts, with the same random numbers.
"""

import json
import sys
from pathlib import Path

import pandas as pd

from lm_steer import Steer, compose, evaluate, generate, load_model

DETOX, SENTIMENT = "detox.detox", "sentiment.sentiment"
WAYS = {
    "unsteered": {},
    "detox 5": {DETOX: 5.0},
    "sentiment 5": {SENTIMENT: 5.0},
    "both, sum of maps": {DETOX: 5.0, SENTIMENT: 5.0},
    "both, sum of factors": {DETOX: 5.0, SENTIMENT: 5.0},
}
PROMPTS = 48
METRICS = ("avg_max_toxicity", "positivity", "perplexity")


def of_summed_factors(steer: Steer, values: dict[str, float]) -> Steer:
    """Return a steer with one dimension, `both`, whose map at 1 is (Σ vₖ Aₖ)(Σ Bₖ)ᵀ."""
    chosen = [steer.dimensions.index(name) for name in values]
    a = sum(value * steer.weights["A"][index] for index, value in zip(chosen, values.values(), strict=True))
    b = steer.weights["B"][chosen].sum(0)
    return Steer(("both",), {"A": a[None], "B": b[None]}, epsilon=steer.epsilon)


def main(results: Path, output: Path) -> None:
    """Generate with each method, score all texts, and print the table."""
    loaded = load_model(results / "models/smollm2")
    steers = {name: Steer.from_pretrained(results / f"steers/smollm2/{name}/seed0") for name in ("detox", "sentiment")}
    composed = compose(steers)
    rows = [json.loads(line) for line in (results / "prompts/toxic.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = rows[:PROMPTS]
    texts = [row["prompt"]["text"] for row in rows]
    output.mkdir(parents=True, exist_ok=True)
    files = []
    for way, values in WAYS.items():
        steer, at = (None, None) if not values else (composed, values)
        if way.endswith("factors"):
            steer, at = of_summed_factors(composed, values), {"both": 1.0}
        samples = generate(loaded.model, loaded.tokenizer, texts, steer, at, samples=5, new_tokens=20, top_p=0.9)
        lines = [
            json.dumps({**row, "generations": [{"text": text} for text in texts_of_prompt]})
            for row, texts_of_prompt in zip(rows, samples, strict=True)
        ]
        files.append(output / f"{way}.jsonl")
        files[-1].write_text("\n".join(lines) + "\n", encoding="utf-8")
    judges = {"perplexity": str(results / "models/smollm2")}
    *_, maps, factors = files
    table = evaluate(files, ["toxicity", "sentiment", "perplexity"], judges)
    paired = evaluate([factors], ["toxicity", "sentiment", "perplexity"], judges, against=maps)
    gap = paired[paired["file"] == str(factors)].drop(columns=["value", "low", "high"])
    gap = gap.rename(columns=lambda name: {"difference": "value"}.get(name, name.removeprefix("difference_")))
    table = pd.concat([table, gap.assign(file="difference of the two")])
    table.to_csv(output / "composition.csv", index=False)
    print(markdown(table))


def markdown(table: pd.DataFrame) -> str:
    """Return a row per method and a column per metric: the value with its interval."""
    cells = table.assign(
        way=table["file"].map(lambda file: Path(file).stem),
        cell=[f"{one.value:.3g} ({one.low:.3g} to {one.high:.3g})" for one in table.itertuples()],
    )
    grid = cells.pivot(index="way", columns="metric", values="cell")
    return grid.loc[cells["way"].unique(), list(METRICS)].to_markdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
