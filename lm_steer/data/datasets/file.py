"""A file of your own: .csv, .jsonl or .parquet with texts and labels, prompts and completions, messages, or pairs.

lm-steer data --source file --path my.csv -o results/data/mine
"""

from dataclasses import dataclass

import pandas as pd

from lm_steer.data.table_texts import TableTexts
from lm_steer.data.text_sources import key


@dataclass(frozen=True)
class FileTexts(TableTexts):
    """Texts of your own."""

    path: str = key(
        "A .csv, .jsonl or .parquet with the columns text (and prompt, if there are prompts), prompt and completion, "
        "or messages, and labels (-1 to 1); or chosen and rejected, which are labelled 1 and -1.",
        required=True,
        reads=True,
    )

    def texts(self) -> pd.DataFrame:
        """Read the file."""
        return self.read(self.path)
