"""Sources of labelled texts: each becomes (id, text, label in [-1, 1]) in three splits.

    lm-steer data --source vader-snippets -o results/data/snippets
    lm-steer data --source file --path my.csv -o results/data/mine

vader-snippets   10,605 movie-review snippets rated by 20 people from -4 to 4 (Hutto & Gilbert, ICWSM 2014)
vader-lexicon    *weak labels* for toxicity: texts of four corpora of the same release, -1 where a word of a
                 profanity list occurs, and as many +1 from the same corpus without one
jigsaw           two million comments with a toxicity, of Kaggle or the hub, drawn to two equal classes (jigsaw.py)
sst5             movie-review sentences of five classes, in their own splits (sst5.py)
file             your own: .csv, .jsonl or .parquet with the columns text and label
"""

import random
import re
from pathlib import Path

import pandas as pd

from lm_steer.data.jigsaw import jigsaw
from lm_steer.data.labelled import read_table, text_key
from lm_steer.data.sst5 import sst5
from lm_steer.fetch.packages import read
from lm_steer.util.errors import LMSteerError
from lm_steer.util.options import check_unused

ARCHIVE = "vaderSentiment-2.5/additional_resources/hutto_ICWSM_2014.tar.gz"
CORPORA = {
    "movies": "movieReviewSnippets",
    "tweets": "tweets",
    "editorials": "nytEditorialSnippets",
    "products": "amazonReviewSnippets",
}
WORD = re.compile(r"[a-z0-9']+")


def vader_snippets() -> pd.DataFrame:
    """Movie snippets with their mean rating, scaled from [-4, 4] to [-1, 1]."""
    frame = _corpus("movies")
    return frame.assign(label=frame["rating"] / 4)


def vader_lexicon() -> pd.DataFrame:
    """Weakly labelled toxicity, balanced within each corpus so that the corpus does not give the label away."""
    wordlist = read("better-profanity", "better_profanity/profanity_wordlist.txt").decode("utf-8")
    words = {line.strip().lower() for line in wordlist.splitlines() if line.strip()}
    parts = []
    for corpus in CORPORA:
        frame = _corpus(corpus)
        hit = frame["text"].map(lambda text: not words.isdisjoint(WORD.findall(text.lower())))
        toxic, clean = frame[hit], frame[~hit]
        chosen = random.Random(corpus).sample(range(len(clean)), len(toxic))
        parts += [toxic.assign(label=-1.0), clean.iloc[chosen].assign(label=1.0)]
    return pd.concat(parts, ignore_index=True)


def from_file(path: str) -> pd.DataFrame:
    """Read texts and labels from a user's file; LMSteerError where it is unreadable, mislabelled or contradictory."""
    frame = read_table(path)
    return frame.assign(id=[f"{Path(path).stem}-{number}" for number in range(1, len(frame) + 1)])


def labelled_texts(
    source: str, path: str = "", origin: str = "", revision: str = "", seed: int = 0
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the texts of a source, and counts of what it was made from, where the source tells.

    Each text comes once; a source with splits of its own names them in a column `split` and is left as it is.
    """
    used = {"jigsaw": ("origin", "revision", "seed"), "sst5": ("path", "revision"), "file": ("path",)}.get(source, ())
    given = {"path": path, "origin": origin, "revision": revision, "seed": seed}
    check_unused(f"the source '{source}'", given, used)
    if source == "jigsaw":
        return jigsaw(origin, revision, seed)
    if source == "sst5":
        return sst5(path, revision), {}
    if source == "file":
        if not path:
            raise LMSteerError("the source 'file' needs a path")
        frame = from_file(path)
    else:
        sources = {"vader-snippets": vader_snippets, "vader-lexicon": vader_lexicon}
        if source not in sources:
            raise LMSteerError(f"unknown source '{source}': choose {', '.join([*sources, 'jigsaw', 'sst5', 'file'])}")
        frame = sources[source]()
    return frame.loc[~frame["text"].map(text_key).duplicated(), ["id", "text", "label"]], {}


def _corpus(name: str) -> pd.DataFrame:
    """Return one corpus of the VADER release: id, rating in [-4, 4], text."""
    content = read("vader", f"{ARCHIVE}!hutto_ICWSM_2014/{CORPORA[name]}_GroundTruth.txt").decode("utf-8")
    rows = [line.split("\t", 2) for line in content.splitlines() if line.strip()]
    frame = pd.DataFrame(rows, columns=["id", "rating", "text"])
    return frame.assign(
        id=[f"{name}-{number}" for number in frame["id"]],
        rating=frame["rating"].astype(float),
        text=frame["text"].str.strip(),
    )
