"""*Weak labels* for toxicity: texts of the four corpora of the VADER release, by a profanity list.

lm-steer data --source vader-lexicon -o results/data/weak-toxicity
"""

import random
import re

import pandas as pd

from lm_steer.data.datasets.vader_snippets import CORPORA, corpus
from lm_steer.data.sources import Texts
from lm_steer.fetch.packages import read

WORD = re.compile(r"[a-z0-9']+")


class VaderLexicon(Texts):
    """Weak toxicity labels by a word list."""

    packages = ("vader", "better-profanity")
    weak = True

    def texts(self) -> pd.DataFrame:
        """Return texts with a word of the list as -1, and as many from the same corpus without one as +1.

        Because each corpus is balanced, it does not reveal the label.
        """
        wordlist = read("better-profanity", "better_profanity/profanity_wordlist.txt").decode("utf-8")
        words = {line.strip().lower() for line in wordlist.splitlines() if line.strip()}
        parts = []
        for name in CORPORA:
            frame = corpus(name)
            hit = frame["text"].map(lambda text: not words.isdisjoint(WORD.findall(text.lower())))
            toxic, clean = frame[hit], frame[~hit]
            sample = random.Random(name).sample(range(len(clean)), len(toxic))
            parts += [toxic.assign(label=-1.0), clean.iloc[sample].assign(label=1.0)]
        return pd.concat(parts, ignore_index=True)
