"""A steer: a few named dimensions, each a low-rank map on the head's input, each scaled by a steer value.

    h' = h + ε Σ_k v_k (h B_k) A_kᵀ          logits = head(h')               (paper, section 3; equation 2)

    steer = Steer.from_pretrained("results/steers/smollm2/sentiment/seed0")       # or an id on the hub
    with steer.attach(model).at(sentiment=5):
        model.generate(**inputs)
    2 * steer + other                         # scale, add: dimensions of the same name are summed

Three kinds exist: `multiply` is the map above; `add` shifts the head's input, h' = h + ε Σ v_k a_k; `offset`
shifts the logits, logits = head(h) + ε Σ v_k o_k (a static bias over the vocabulary, the paper's Soft-Blacklist).
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lm_steer.errors import LMSteerError
from lm_steer.files import read_json, replacing

if TYPE_CHECKING:
    from lm_steer.analyse.directions import Direction
    from lm_steer.analyse.evidence import Evidence
    from lm_steer.attach import Handle
    from lm_steer.models import LoadedModel

FORMAT = 1
FILES = ("steer.safetensors", "steer_config.json")
WEIGHTS_OF = {"multiply": ("A", "B"), "add": ("a",), "offset": ("o",)}
INITIAL_STD = {"multiply": 0.01, "add": 1.0, "offset": 1.0}


@dataclass(frozen=True)
class Steer:
    """Named dimensions and their weights, in float32.

    kind         weights                              acts on
    multiply     A, B: (dimensions, hidden, rank)     the head's input
    add          a: (dimensions, hidden)              the head's input
    offset       o: (dimensions, vocabulary)          the logits

    `about` is free-form provenance (model, dataset, seed, …); it is saved and does not act.
    Raises LMSteerError where names repeat, shapes disagree, or ε is no finite number.
    """

    dimensions: tuple[str, ...]
    weights: dict[str, Tensor]
    kind: str = "multiply"
    epsilon: float = 1e-3
    about: dict[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in WEIGHTS_OF:
            raise LMSteerError(f"unknown kind of steer '{self.kind}': choose {', '.join(WEIGHTS_OF)}")
        if tuple(self.weights) != WEIGHTS_OF[self.kind]:
            raise LMSteerError(
                f"a steer of kind {self.kind} has weights {', '.join(WEIGHTS_OF[self.kind])}; "
                f"found {', '.join(self.weights) or 'none'}"
            )
        if not isinstance(self.epsilon, (int, float)) or not math.isfinite(self.epsilon):
            raise LMSteerError(f"the epsilon of a steer is a finite number, not {self.epsilon!r}")
        if not all(isinstance(name, str) and name for name in self.dimensions):
            raise LMSteerError(f"the dimensions of a steer are names: {self.dimensions!r}")
        if len(set(self.dimensions)) != len(self.dimensions):
            raise LMSteerError(f"the dimensions of a steer need names of their own: {', '.join(self.dimensions)}")
        shapes = {name: tuple(weight.shape) for name, weight in self.weights.items()}
        rank_axes = 3 if self.kind == "multiply" else 2
        if len(set(shapes.values())) != 1 or any(
            len(shape) != rank_axes or shape[0] != len(self.dimensions) for shape in shapes.values()
        ):
            raise LMSteerError(f"weights {shapes} do not fit {len(self.dimensions)} dimensions of kind {self.kind}")

    @classmethod
    def initial(
        cls,
        dimensions: tuple[str, ...],
        width: int,
        *,
        rank: int = 1,
        kind: str = "multiply",
        epsilon: float = 1e-3,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Draw a steer as the original code starts it: N(0, 0.01²) for `multiply`, N(0, 1) for the others.

        `width` is the hidden size of the model, or its vocabulary's for `offset`.
        """
        shape = (len(dimensions), width, rank) if kind == "multiply" else (len(dimensions), width)
        weights = {
            name: torch.randn(shape, generator=generator) * INITIAL_STD[kind] for name in WEIGHTS_OF.get(kind, ())
        }
        return cls(tuple(dimensions), weights, kind, epsilon)

    @property
    def width(self) -> int:
        """The hidden size this steer fits, or for `offset` the vocabulary's size."""
        return next(iter(self.weights.values())).shape[1]

    @property
    def rank(self) -> int | None:
        """The rank of a dimension's map; None where the kind has no map."""
        return self.weights["A"].shape[2] if self.kind == "multiply" else None

    def vector(self, values: Mapping[str, float]) -> Tensor:
        """Turn named steer values into a vector (dimensions,); a dimension that is not named is at 0."""
        for name, value in values.items():
            if name not in self.dimensions:
                raise LMSteerError(
                    f"the steer has no dimension '{name}': it has {', '.join(self.dimensions) or 'none'}"
                )
            if not math.isfinite(value):
                raise LMSteerError(f"the value of dimension '{name}' must be a finite number, not {value}")
        return torch.tensor([float(values.get(name, 0.0)) for name in self.dimensions])

    def matrix(self, values: Mapping[str, float]) -> Tensor:
        """Return Σ_k v_k A_k B_kᵀ, (hidden, hidden), without ε; only a `multiply` steer has one."""
        if self.kind != "multiply":
            raise LMSteerError(f"a steer of kind {self.kind} has no matrix")
        return torch.einsum("k,kdr,ker->de", self.vector(values), self.weights["A"], self.weights["B"])

    def attach(self, model: nn.Module) -> "Handle":
        """Put the steer on a causal LM and return its handle; see `lm_steer.attach`."""
        from lm_steer.attach import attach

        return attach(model, self)

    def transfer(self, source: "LoadedModel", target: "LoadedModel", **options: Any) -> Self:
        """Return the steer for another model; see `lm_steer.analyse.transfer`."""
        return _aside("analyse.transfer").transfer(self, source, target, **options)

    def directions(self, loaded: "LoadedModel", dimension: str | None = None, **options: Any) -> "list[Direction]":
        """Return what a dimension (the first) has learned, as words; see `lm_steer.analyse.directions`."""
        return _aside("analyse.directions").directions(self, loaded, dimension or self.dimensions[0], **options)

    def evidence(self, loaded: "LoadedModel", text: str, values: Mapping[str, float], **options: Any) -> "Evidence":
        """Return where in a text the steer at these values shows; see `lm_steer.analyse.evidence`."""
        return _aside("analyse.evidence").evidence(self, loaded, text, values, **options)

    # --- algebra -----------------------------------------------------------------------------------------

    def __mul__(self, factor: float) -> Self:
        """Scale the effect: `2 * s` at 1 is `s` at 2. Only A is scaled, so that the map scales linearly."""
        if not isinstance(factor, (int, float)):
            return NotImplemented
        first = WEIGHTS_OF[self.kind][0]
        return replace(self, weights={**self.weights, first: self.weights[first] * factor})

    __rmul__ = __mul__

    def __neg__(self) -> Self:
        return self * -1.0

    def __sub__(self, other: Self) -> Self:
        return self + -other

    def __add__(self, other: Self) -> Self:
        """Add the maps of dimensions of the same name, and keep the others: ranks add up where B differs."""
        if not isinstance(other, Steer):
            return NotImplemented
        if self.kind != other.kind or self.width != other.width:
            raise LMSteerError(
                f"steers add up only where kind and width agree: {self.kind} of width {self.width}, "
                f"{other.kind} of width {other.width}"
            )
        names = self.dimensions + tuple(name for name in other.dimensions if name not in self.dimensions)
        # The sum carries the ε of the first; the second's maps are rescaled to it.
        mine = {name: self._map(name) for name in self.dimensions}
        yours = {name: (other * (other.epsilon / self.epsilon))._map(name) for name in other.dimensions}
        sums = [_sum_maps(mine.get(name), yours.get(name)) for name in names]
        # Only what holds for both holds for the sum.
        about = {key: value for key, value in self.about.items() if other.about.get(key) == value}
        if self.kind != "multiply":
            weights = {WEIGHTS_OF[self.kind][0]: torch.stack(sums)}
            return replace(self, dimensions=names, weights=weights, about=about)
        rank = max(a.shape[1] for a, _ in sums)
        pad = torch.nn.functional.pad
        weights = {
            letter: torch.stack([pad(pair[index], (0, rank - pair[index].shape[1])) for pair in sums])
            for index, letter in enumerate("AB")
        }
        return replace(self, dimensions=names, weights=weights, about=about)

    def _map(self, name: str) -> Any:
        index = self.dimensions.index(name)
        parts = tuple(weight[index] for weight in self.weights.values())
        return parts if self.kind == "multiply" else parts[0]

    def renamed(self, prefix: str) -> Self:
        """Qualify every dimension, `corpus` → `detox.corpus`, so that two trainings' dimensions stay apart."""
        return replace(self, dimensions=tuple(f"{prefix}.{name}" for name in self.dimensions))

    # --- on disk -----------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path) -> None:
        """Write steer.safetensors and steer_config.json into `folder`, whole or not at all."""
        config = {
            "format": FORMAT,
            "kind": self.kind,
            "dimensions": list(self.dimensions),
            "epsilon": self.epsilon,
            "width": self.width,
            "rank": self.rank,
            "about": self.about,
        }
        tensors = {name: weight.detach().float().cpu().contiguous() for name, weight in self.weights.items()}
        with replacing(Path(folder) / "steer.safetensors") as temporary:
            save_file(tensors, temporary)
        with replacing(Path(folder) / "steer_config.json") as temporary:
            temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path, revision: str | None = None) -> Self:
        """Read a steer that `save_pretrained` wrote, from a folder or, as owner/name at a revision, from the hub.

        Raises LMSteerError where it is missing, newer than this version, or damaged.
        """
        place = located(folder, revision)
        config = read_json(place / FILES[1])
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            found = config.get("format") if isinstance(config, dict) else type(config).__name__
            raise LMSteerError(f"{folder}: a steer of format {found}, this version reads {FORMAT}: update lm-steer")
        try:
            weights = {name: weight.float() for name, weight in load_file(place / FILES[0]).items()}
            kind = config["kind"]
            ordered = {name: weights[name] for name in WEIGHTS_OF.get(kind, tuple(weights))}
            steer = cls(tuple(config["dimensions"]), ordered, kind, config["epsilon"], config.get("about", {}))
        except (SafetensorError, FileNotFoundError, KeyError, TypeError) as error:
            raise LMSteerError(f"{folder}: not a whole steer ({error}): train or download it again") from None
        if not all(torch.isfinite(weight).all() for weight in weights.values()):
            raise LMSteerError(f"{folder}: its weights are not all finite numbers: train or download it again")
        return steer

    def push_to_hub(self, repo: str, **options: Any) -> str:
        """Commit the steer, with a model card, to a repository of the hub; see `lm_steer.share.push`."""
        return _aside("share").push(self, repo, **options)


def compose(steers: Mapping[str, Steer]) -> Steer:
    """Join the steers of several trainings into one, each dimension qualified by its steer's name."""
    named = [steer.renamed(name) for name, steer in steers.items()]
    total = named[0]
    for steer in named[1:]:
        total = total + steer
    return total


def located(folder: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a steer's files; owner/name that is no folder here is fetched from the hub."""
    if isinstance(folder, str) and not Path(folder).exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", folder):
        return _aside("share").fetch(folder, revision)
    return Path(folder)


def _aside(module: str) -> Any:
    """Import a module by name, which the digest of code does not follow: its edits leave every steer as it is."""
    return import_module(f"lm_steer.{module}")


def _sum_maps(mine: Any, yours: Any) -> Any:
    if mine is None or yours is None:
        return yours if mine is None else mine
    if isinstance(mine, Tensor):
        return mine + yours
    (a, b), (c, d) = mine, yours
    if b.shape == d.shape and torch.equal(b, d):
        return a + c, b
    return torch.cat([a, c], dim=1), torch.cat([b, d], dim=1)
