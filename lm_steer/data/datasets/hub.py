"""A dataset of the Hugging Face hub, one file of it: .csv, .jsonl or .parquet.

    lm-steer data --source hub --id dair-ai/emotion --file split/train-00000-of-00001.parquet \\
        --classes 1=1 0=-1 -o results/data/joy
"""

from dataclasses import dataclass

import pandas as pd

from lm_steer.data.table_texts import TableTexts
from lm_steer.data.text_sources import key
from lm_steer.fetch.hub import hub_file


@dataclass(frozen=True)
class HubTexts(TableTexts):
    """A dataset of the hub."""

    id: str = key("owner/name of the dataset.", required=True)
    file: str = key("The path of a .csv, .jsonl or .parquet within it.", required=True)
    revision: str = key("A commit; without it the latest.")

    def texts(self) -> pd.DataFrame:
        """Read the file, from the hub's cache or downloaded to it."""
        by_hand = "or download it and name it by `source: file` and `path`"
        return self.read(hub_file(self.id, self.file, self.revision or "main", by_hand))
