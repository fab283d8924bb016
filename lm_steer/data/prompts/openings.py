"""First words of held-out texts.

    lm-steer prompts --source openings --dataset results/data/snippets/test.parquet --labels -0.1 0.1 --count 50 \\
        -o results/prompts/neutral.jsonl
"""

from collections.abc import Iterator
from typing import Any

from lm_steer.data.labelled import read_texts, text_key
from lm_steer.data.prompt_files import first_lines, prompt_rows
from lm_steer.data.sources import Prompts
from lm_steer.util.blocks import DatasetName, key
from lm_steer.util.options import Finite, Positive


class Openings(Prompts):
    """First words of a dataset's test texts."""

    # For a command, the path of the texts.
    dataset: DatasetName = key("The dataset.")
    count: Positive = key("How many prompts, the first ones.")
    labels: list[Finite] = key("The lowest and the highest label of the texts.", [-1, 1])
    words: Positive = key("How many first words.", 5)

    def mistakes(self) -> Iterator[str]:
        """Yield labels that are not a range."""
        if len(self.labels) != 2 or self.labels[0] > self.labels[1]:
            yield f".labels: expected two numbers, the lowest label first, found {self.labels}"

    def problems(self, study: Any) -> Iterator[str]:
        """Yield a dataset whose texts have several labels."""
        yield from super().problems(study)
        if len(names := study.datasets[self.dataset].label_names) > 1:
            yield f".dataset: the texts of '{self.dataset}' have the labels {', '.join(names)}: choose another"

    def prompts(self) -> list[dict[str, Any]]:
        """Return the first words of texts that have more words, and a label in the closed range."""
        frame, (low, high) = read_texts(self.dataset), self.labels
        texts = frame["text"][frame["label"].between(low, high) & (frame["text"].str.split().str.len() > self.words)]
        unique = {" ".join(text.split()[: self.words]) for text in texts}
        ordered = sorted(unique, key=lambda prompt: (text_key(prompt), prompt))
        return first_lines(
            prompt_rows(ordered), self.count, f"texts of more than {self.words} words with a label from {low} to {high}"
        )
