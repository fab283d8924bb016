"""A file of your own: .csv, .jsonl or .parquet with the columns text and label.

lm-steer data --source file --path my.csv -o results/data/mine
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lm_steer.data.labelled import read_table
from lm_steer.data.text_sources import Texts, key


@dataclass(frozen=True)
class FileTexts(Texts):
    """Texts of your own."""

    path: str = key("A .csv, .jsonl or .parquet with the columns text and label (-1 to 1).", required=True, reads=True)

    def texts(self) -> pd.DataFrame:
        """Read the file; LMSteerError where it is unreadable, mislabelled or contradictory."""
        frame = read_table(self.path)
        return frame.assign(id=[f"{Path(self.path).stem}-{number}" for number in range(1, len(frame) + 1)])
