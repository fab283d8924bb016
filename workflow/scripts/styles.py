"""Two attributes at once, trained jointly, or separately and composed; one of them is a style learned from pairs.

    python workflow/scripts/styles.py results styles      # after the embedded study; prints a table

The style is easy to judge: no contractions ("it is", not "it's"). Each pair is a snippet of a film review that contains
one, unchanged (rejected) and written out (chosen); its rating is the other attribute. SmolLM2-135M-Instruct answers
questions at the values that cost a quarter of a nat per token alone, and at both values at once.
"""

import re
import sys
from pathlib import Path
from typing import Any

from equal_price import QUESTIONS, judged, markdown

from lm_steer import Steer, calibrate, compose, generate, load_model, train
from lm_steer.data.datasets.vader_snippets import corpus
from lm_steer.model.chat import chat_prompt
from lm_steer.score.registry import Kind
from lm_steer.score.store import Scorer, continuation

NATS, PAIRS = 0.25, 300
RECIPE: dict[str, Any] = {"rank": 256, "steps": 40, "batch_size": 16, "learning_rate": 0.01, "chat": True}
SAMPLING: dict[str, Any] = {"chat": True, "samples": 3, "new_tokens": 30, "top_p": 0.9}
WORDS = {"won't": "will not", "can't": "cannot", "ain't": "is not", "it's": "it is", "that's": "that is"}
WORDS |= {"there's": "there is", "what's": "what is", "let's": "let us"}
ENDS = {"n't": " not", "'re": " are", "'ll": " will", "'ve": " have", "'m": " am"}
CONTRACTION = re.compile(rf"(?:\b(?:{'|'.join(WORDS)})|{'|'.join(ENDS)})\b", re.IGNORECASE)


class Contractions(Kind):
    """Whether a text has a contraction."""

    yields = "contracted"

    def scorer(self, resource: str = "", dtype: str = "float32") -> Scorer:
        """Return the judge, which is a rule."""

        def judge(items: Any) -> Any:
            for index, item in enumerate(items):
                yield index, (float(bool(CONTRACTION.search(item.continuation.replace("’", "'")))),)

        return Scorer("contractions", "1", (self.yields,), continuation, judge)


def written_out(text: str) -> str:
    """Return a text without contractions."""

    def full(match: re.Match[str]) -> str:
        words = (WORDS | ENDS)[match[0].lower()]
        return words.capitalize() if match[0][0].isupper() else words

    return CONTRACTION.sub(full, text)


def trained(*model: Any, cache: Path) -> tuple[Steer, Steer]:
    """Return a steer of both attributes, and a composition of one steer each, all trained on the same texts."""
    frame = corpus("movies")
    frame = frame[frame["text"].str.contains(CONTRACTION)].sample(PAIRS, random_state=0)
    rows, pairs = [], []
    for number, (text, rating) in enumerate(zip(frame["text"], frame["rating"], strict=True)):
        about = {"prompt": f"What did you think of film {number}?", "sentiment": rating / 4}
        rows += [{**about, "text": written_out(text), "style": 1}, {**about, "text": text, "style": -1}]
        pairs.append({"prompt": about["prompt"], "chosen": written_out(text), "rejected": text})
    rated = [{"prompt": row["prompt"], "text": row["text"], "label": row["sentiment"]} for row in rows]
    joint = train(*model, rows, dimensions=("sentiment", "style", "corpus"), cache=cache, **RECIPE)
    mood = train(*model, rated, dimensions=("sentiment", "corpus"), cache=cache, **RECIPE)
    style = train(*model, pairs, dimensions=("style", "corpus"), cache=cache, **RECIPE)
    return joint, compose({"mood": mood, "pairs": style})


def main(results: Path, output: Path) -> None:
    """Train, answer the questions, score the answers, and print the table."""
    loaded = load_model(results / "models/smollm2", dtype="auto")
    model = (loaded.model, loaded.tokenizer)
    texts = {"unsteered": generate(*model, QUESTIONS, **SAMPLING)}
    answers = [answer for each in texts["unsteered"] for answer in each]
    prompts = [chat_prompt(loaded.tokenizer, question) for question in QUESTIONS for _ in range(SAMPLING["samples"])]
    options: dict[str, Any] = {"prompts": prompts, "cache": output / "cache/states.sqlite"}
    joint, composed = trained(*model, cache=output / "cache")
    price: dict[str, float] = {}
    for way, alone, steer, names in (
        ("joint", "joint", joint, ("sentiment", "style")),
        ("composed", "apart", composed, ("mood.sentiment", "pairs.style")),
    ):
        curves = {name: calibrate(steer, loaded, answers, name, at_kl=NATS, **options) for name in names}
        for sides in ((1, 0), (0, 1), (0, -1), (1, 1), (1, -1)):
            values = {name: curves[name].at_kl(NATS, side) for name, side in zip(names, sides, strict=True) if side}
            shown = (f"{name.split('.')[-1]} {value:+.1f}" for name, value in values.items())
            label = f"{way if all(sides) else alone}: {', '.join(shown)}"
            *others, (name, value) = values.items()
            curve = calibrate(steer, loaded, answers, name, held=dict(others), values=[value], **options)
            price[label] = next(point.kl for point in curve.points if point.value == value)
            texts[label] = generate(*model, QUESTIONS, steer, values, **SAMPLING)
    judges = {"perplexity": str(results / "models/smollm2"), "contracted": "styles:Contractions"}
    table = judged(texts, ["sentiment", "contracted", "perplexity", "dist-n"], judges, output)
    print(markdown(table, ("positivity", "contracted", "perplexity", "dist_2"), {"nats": price}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
