"""Snippets rated by 20 people from -4 to 4, among them 10,605 of movie reviews (Hutto & Gilbert, ICWSM 2014).

lm-steer data --source vader-snippets -o results/data/snippets
"""

from typing import Literal

import pandas as pd

from lm_steer.data.sources import Texts
from lm_steer.fetch.packages import read
from lm_steer.util.blocks import key

ARCHIVE = "vaderSentiment-2.5/additional_resources/hutto_ICWSM_2014.tar.gz"
CORPORA = {
    "movies": "movieReviewSnippets",
    "tweets": "tweets",
    "editorials": "nytEditorialSnippets",
    "products": "amazonReviewSnippets",
}


class VaderSnippets(Texts):
    """Snippets with graded sentiment."""

    packages = ("vader",)

    corpus: Literal["movies", "tweets", "editorials", "products"] = key(
        "Snippets of movie reviews, tweets, newspaper editorials or product reviews.", "movies"
    )

    def texts(self) -> pd.DataFrame:
        """Return the snippets with their mean rating, scaled from [-4, 4] to [-1, 1]."""
        frame = corpus(self.corpus)
        return frame.assign(label=frame["rating"] / 4)


def corpus(name: str) -> pd.DataFrame:
    """Return one corpus of the VADER release: id, rating in [-4, 4], text."""
    content = read("vader", f"{ARCHIVE}!hutto_ICWSM_2014/{CORPORA[name]}_GroundTruth.txt").decode("utf-8")
    rows = [line.split("\t", 2) for line in content.splitlines() if line.strip()]
    frame = pd.DataFrame(rows, columns=["id", "rating", "text"])
    return frame.assign(
        id=[f"{name}-{number}" for number in frame["id"]],
        rating=frame["rating"].astype(float),
        text=frame["text"].str.strip(),
    )
