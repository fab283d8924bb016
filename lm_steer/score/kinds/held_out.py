"""The loss on unrelated texts under each setting's steer, as a study configures it; analyse/held_out.py computes it."""

from lm_steer.score.registry import OfModel
from lm_steer.util.blocks import DatasetName, key
from lm_steer.util.options import Positive


class HeldOut(OfModel):
    """A side effect: the steered model's loss on given texts, in nats per token."""

    note = "Of given texts, not of generations: what the steer does to a text that nobody asked it to change."

    dataset: DatasetName = key("The dataset whose test texts are read; no steer may have been trained on them.")
    texts: Positive = key("How many texts to read, chosen by hash from those of 2 to 256 tokens.", 100)

    @property
    def yields(self) -> str:  # type: ignore[override]
        """The name of its metric, one per dataset."""
        return f"loss_on_{self.dataset}"
