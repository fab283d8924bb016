"""The loss on texts that nobody steers for, under the steer of each setting: how it is described in a study.

analyse/held_out.py computes it.
"""

from lm_steer.score.registry import OfModel
from lm_steer.util.blocks import DatasetName, key
from lm_steer.util.options import Positive


class HeldOut(OfModel):
    """A side effect: the steered model's loss on given texts, in nats per token."""

    note = "Of given texts, not of generations: what the steer does to a text that nobody asked it to change."

    dataset: DatasetName = key("The dataset whose test texts are read, which no steer has learnt from.")
    texts: Positive = key("How many of them, chosen by hash among those of 2 to 256 tokens.", 100)

    @property
    def yields(self) -> str:  # type: ignore[override]
        """A metric of its own for each dataset."""
        return f"loss_on_{self.dataset}"
