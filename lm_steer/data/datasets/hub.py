"""One file of a dataset on the Hugging Face hub: .csv, .jsonl or .parquet.

    lm-steer data --source hub --id dair-ai/emotion --file split/train-00000-of-00001.parquet \\
        --classes 1=1 0=-1 -o results/data/joy
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from lm_steer.data.labelled import FORMATS
from lm_steer.data.table_texts import TableTexts
from lm_steer.fetch.hub import hub_file
from lm_steer.util.blocks import Text, key


class HubTexts(TableTexts):
    """A dataset on the hub."""

    id: Text = key("owner/name of the dataset.")
    file: Text = key("The path of a .csv, .jsonl or .parquet in it.")
    revision: str = key("A commit; by default the latest.", "")

    def mistakes(self) -> Iterator[str]:
        """Yield an invalid repository id or path, and a file that could not be read."""
        yield from super().mistakes()
        if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", self.id):
            yield f".id: expected owner/name, found '{self.id}'"
        if self.file.startswith("/") or ".." in self.file.split("/"):
            yield f".file: expected a path in the repository, found '{self.file}'"
        if Path(self.file).suffix not in FORMATS:
            yield f".file: expected one of {', '.join(FORMATS)}, found '{self.file}'"

    def texts(self) -> pd.DataFrame:
        """Read the file, downloading it to the hub's cache if needed."""
        by_hand = "or download it and name it by `source: file` and `path`"
        return self.read(hub_file(self.id, self.file, self.revision or "main", by_hand))
