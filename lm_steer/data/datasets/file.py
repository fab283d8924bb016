"""Your own .csv, .jsonl or .parquet with texts and labels, prompts and completions, messages, or pairs.

lm-steer data --source file --path my.csv -o results/data/mine
"""

import pandas as pd

from lm_steer.data.table_texts import TableTexts
from lm_steer.util.blocks import Text, key


class FileTexts(TableTexts):
    """Your own texts."""

    reads = ("path",)

    path: Text = key(
        "A .csv, .jsonl or .parquet with the columns text (and prompt, if there are prompts), prompt and completion, "
        "or messages, and labels (-1 to 1); or chosen and rejected, which are labelled 1 and -1."
    )

    def texts(self) -> pd.DataFrame:
        """Read the file."""
        return self.read(self.path)
