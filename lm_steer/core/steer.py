"""A steer: named dimensions, each a low-rank map on the input of the output head, scaled by a steer value.

    h' = h + ε Σ_k v_k (h B_k) A_kᵀ          logits = head(h')               (paper, section 3; equation 2)

    steer = Steer.from_pretrained("results/steers/smollm2/sentiment/seed0")       # or an id on the hub
    with steer.attach(model).at(sentiment=5):
        model.generate(**inputs)
    2 * steer + other / 3                     # scale, add, sum(): dimensions of the same name are summed

There are three kinds: `multiply` is the map above; `add` shifts the head's input, h' = h + ε Σ v_k a_k; `offset`
shifts the logits, logits = head(h) + ε Σ v_k o_k (a static bias over the vocabulary, the paper's Soft-Blacklist).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

import lm_steer
from lm_steer.core.attach import Handle, attach
from lm_steer.core.stored import located, read_steer, write_steer
from lm_steer.util.errors import LMSteerError
from lm_steer.util.options import is_whole

LARGEST = torch.finfo(torch.float32).max
WEIGHTS_OF = {"multiply": ("A", "B"), "add": ("a",), "offset": ("o",)}
INITIAL_STD = {"multiply": 0.01, "add": 1.0, "offset": 1.0}


@dataclass(frozen=True, eq=False, repr=False)
class Steer:
    """Named dimensions and their weights, in float32.

    kind         weights                              acts on
    multiply     A, B: (dimensions, hidden, rank)     the head's input
    add          a: (dimensions, hidden)              the head's input
    offset       o: (dimensions, vocabulary)          the logits

    `about` is free-form provenance (model, dataset, seed, …); it is saved, has no effect, and is ignored by `==`.
    Raises LMSteerError if names repeat, shapes disagree, or ε or a weight is not a finite number.
    """

    dimensions: tuple[str, ...]
    weights: dict[str, Tensor]
    kind: str = "multiply"
    epsilon: float = 1e-3
    about: dict[str, Any] = field(default_factory=dict)
    # Makes `array * steer` a TypeError instead of an array of steers.
    __array_ufunc__ = None

    def __post_init__(self) -> None:
        if self.kind not in tuple(WEIGHTS_OF):
            raise LMSteerError(f"unknown kind of steer '{self.kind}': choose {', '.join(WEIGHTS_OF)}")
        names = WEIGHTS_OF[self.kind]
        if not isinstance(self.weights, Mapping) or set(self.weights) != set(names):
            keys = self.weights if isinstance(self.weights, Mapping) else [type(self.weights).__name__]
            listed = ", ".join(map(str, keys)) or "none"
            raise LMSteerError(f"a steer of kind {self.kind} has weights {', '.join(names)}; found {listed}")
        if not all(map(_is_usable, self.weights.values())):
            raise LMSteerError("the weights of a steer must be dense tensors of finite numbers that float32 can hold")
        if not is_finite(self.epsilon) or not torch.tensor(float(self.epsilon), dtype=torch.float32):
            raise LMSteerError(f"the epsilon of a steer must be a finite number other than 0, not {self.epsilon!r:.80}")
        # The dataclass is frozen. The copies are what was checked: the caller may go on to train the tensors given.
        weights = {name: self.weights[name].detach().to(torch.float32, copy=True) for name in names}
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "epsilon", float(self.epsilon))
        if not isinstance(self.about, dict):
            raise LMSteerError(f"the provenance (about) of a steer must be a dictionary, not {self.about!r}")
        named = isinstance(self.dimensions, tuple) and all(isinstance(name, str) and name for name in self.dimensions)
        if not named or not self.dimensions:
            raise LMSteerError(f"the dimensions of a steer must be a tuple of names, not {self.dimensions!r}")
        if len(set(self.dimensions)) != len(self.dimensions):
            raise LMSteerError(f"the dimensions of a steer must be distinct, found {', '.join(self.dimensions)}")
        shapes = {name: tuple(weight.shape) for name, weight in self.weights.items()}
        rank_axes = 3 if self.kind == "multiply" else 2
        if len(set(shapes.values())) != 1 or any(
            len(shape) != rank_axes or shape[0] != len(self.dimensions) or 0 in shape for shape in shapes.values()
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
        """Draw initial weights as the original code does: from N(0, 0.01²) for `multiply`, N(0, 1) for the others.

        `width` is the model's hidden size, or its vocabulary size for `offset`.
        """
        named = isinstance(dimensions, tuple | list)
        if not (named and is_whole(width) and is_whole(rank) and min(width, rank) > 0):
            raise LMSteerError(f"Steer.initial needs names, width and rank, not {dimensions!r}, {width!r}, {rank!r}")
        shape = (len(dimensions), width, rank) if kind == "multiply" else (len(dimensions), width)
        weights = {
            name: torch.randn(shape, generator=generator, dtype=torch.float32) * INITIAL_STD[kind]
            for name in WEIGHTS_OF.get(str(kind), ())
        }
        return cls(tuple(dimensions), weights, kind, epsilon)

    @property
    def width(self) -> int:
        """The hidden size that this steer fits, or the vocabulary size for `offset`."""
        return next(iter(self.weights.values())).shape[1]

    @property
    def rank(self) -> int | None:
        """The rank of a dimension's map; None if the kind has no map."""
        return self.weights["A"].shape[2] if self.kind == "multiply" else None

    def vector(self, values: Mapping[str, float]) -> Tensor:
        """Return steer values by name as a vector (dimensions,); dimensions that are not named are at 0."""
        if not isinstance(values, Mapping):
            raise LMSteerError(f"expected steer values by name, as {{'style': 5}}, found {values!r}")
        for name, value in values.items():
            if name not in self.dimensions:
                raise LMSteerError(f"the steer has no dimension '{name}': it has {', '.join(self.dimensions)}")
            if not is_finite(value):
                raise LMSteerError(f"the value of dimension '{name}' must be a finite number, not {value!r}")
        return torch.tensor([float(values.get(name, 0.0)) for name in self.dimensions])

    def matrix(self, values: Mapping[str, float]) -> Tensor:
        """Return Σ_k v_k A_k B_kᵀ, (hidden, hidden), without ε; only a `multiply` steer has one."""
        if self.kind != "multiply":
            raise LMSteerError(f"a steer of kind {self.kind} has no matrix")
        return torch.einsum("k,kdr,ker->de", self.vector(values), self.weights["A"], self.weights["B"])

    def attach(self, model: nn.Module) -> Handle:
        """Attach the steer to a causal LM and return its handle; see `lm_steer.core.attach`."""
        return attach(model, self)

    def __repr__(self) -> str:
        size = f"width {self.width}" + (f", rank {self.rank}" if self.rank is not None else "")
        return f"Steer({', '.join(self.dimensions)}: {self.kind}, {size}, ε {self.epsilon})"

    # --- algebra -----------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        """Whether both steers have the same dimensions, kind, ε and weights, bit for bit; steers have no hash."""
        if not isinstance(other, Steer):
            return NotImplemented
        first, second = ((one.dimensions, one.kind, one.epsilon) for one in (self, other))
        pairs = zip(self.weights.values(), other.weights.values(), strict=True)
        return self is other or (first == second and all(torch.equal(one.cpu(), two.cpu()) for one, two in pairs))

    def __mul__(self, factor: float) -> Self:
        """Scale the effect: `2 * s` at 1 equals `s` at 2. Only A is scaled, so that the map scales linearly."""
        if not isinstance(factor, Real):
            return NotImplemented
        if not is_finite(factor):
            raise LMSteerError(f"a steer can only be multiplied by a finite number, not by {factor}")
        first = WEIGHTS_OF[self.kind][0]
        return replace(self, weights={**self.weights, first: self.weights[first] * float(factor)})

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Self:
        if not isinstance(divisor, Real):
            return NotImplemented
        if not is_finite(divisor) or not divisor:
            raise LMSteerError(f"a steer can only be divided by a finite number other than 0, not by {divisor}")
        return self * (1 / divisor)

    def __neg__(self) -> Self:
        return self * -1.0

    def __sub__(self, other: Self) -> Self:
        return self + -other if isinstance(other, Steer) else NotImplemented

    def __add__(self, other: Self) -> Self:
        """Add the maps of dimensions with the same name and keep the others; ranks add up unless B is the same."""
        if not isinstance(other, Steer):
            return NotImplemented
        if self.kind != other.kind or self.width != other.width:
            raise LMSteerError(
                f"only steers of the same kind and width can be added, not {self.kind} of width {self.width} and "
                f"{other.kind} of width {other.width}"
            )
        names = self.dimensions + tuple(name for name in other.dimensions if name not in self.dimensions)
        # The sum takes the ε of the first steer; the second's maps are rescaled to it.
        first = {name: self._map(name) for name in self.dimensions}
        second = {name: (other * (other.epsilon / self.epsilon))._map(name) for name in other.dimensions}
        sums = [_sum_maps(first.get(name), second.get(name)) for name in names]
        # Only provenance that both share holds for the sum.
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

    def __radd__(self, other: object) -> Self:
        """Accept the 0 that `sum` starts from."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def _map(self, name: str) -> Any:
        index = self.dimensions.index(name)
        parts = tuple(weight[index] for weight in self.weights.values())
        return parts if self.kind == "multiply" else parts[0]

    def renamed(self, prefix: str) -> Self:
        """Qualify every dimension, `corpus` → `detox.corpus`, so that dimensions of two trainings stay separate."""
        if not isinstance(prefix, str) or not prefix:
            raise LMSteerError(f"the prefix of dimensions must be a name, not {prefix!r:.80}")
        return replace(self, dimensions=tuple(f"{prefix}.{name}" for name in self.dimensions))

    # --- on disk -----------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path) -> None:
        """Write steer.safetensors and steer_config.json into `folder`, both or neither.

        Raises LMSteerError if JSON cannot represent the provenance, or if the folder holds anything but a steer.
        """
        # Checked again: someone may have written into the weights.
        replace(self)
        about = {"width": self.width, "rank": self.rank, "about": self.about}
        config = {"kind": self.kind, "dimensions": list(self.dimensions), "epsilon": self.epsilon, **about}
        write_steer(folder, config, self.weights)

    @classmethod
    def from_pretrained(cls, folder: str | Path, revision: str | None = None) -> Self:
        """Read a steer written by `save_pretrained` from a folder or, as owner/name at a revision, from the hub.

        Raises LMSteerError if it is missing, newer than this version, or damaged.
        """
        config, tensors = read_steer(located(folder, revision))
        weights = {name: tensors[name] for name in WEIGHTS_OF.get(config["kind"], ()) if name in tensors}
        try:
            steer = cls(
                tuple(config["dimensions"]), weights, config["kind"], config["epsilon"], config.get("about", {})
            )
            for name in ("width", "rank"):
                if config.get(name, size := getattr(steer, name)) != size:
                    raise LMSteerError(f"its {name} is {size}, but its config says {config[name]!r:.80}")
            return steer
        except LMSteerError as error:
            raise LMSteerError(f"{folder} is not a complete steer ({error}): train or download it again") from None

    def push_to_hub(self, repo: str, **options: Any) -> str:
        """Push the steer, with a model card, to a repository on the hub; see `lm_steer.report.card.push`."""
        # By its public name, which the code digest does not follow: an edit to the card retrains no steer.
        return lm_steer.push(self, repo, **options)


def compose(steers: Mapping[str, Steer]) -> Steer:
    """Join the steers of several trainings into one, qualifying each dimension by its steer's name."""
    if not isinstance(steers, Mapping) or not steers or not all(isinstance(one, Steer) for one in steers.values()):
        raise LMSteerError("compose needs at least one steer by name, as in compose({'kind': steer})")
    qualified = [steer.renamed(name) for name, steer in steers.items()]
    names = [name for steer in qualified for name in steer.dimensions]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise LMSteerError(f"two of the composed steers would have the dimension '{repeated[0]}': rename one of them")
    return sum(qualified[1:], qualified[0])


def is_finite(value: Any) -> bool:
    """Whether a value is a single number that float32 can hold; booleans, also of NumPy and torch, are not numbers."""
    is_truth = "bool" in str(getattr(value, "dtype", type(value)))
    try:
        return not (is_truth or isinstance(value, str | bytes)) and abs(float(value)) <= LARGEST
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return False


def _is_usable(weight: object) -> bool:
    if not isinstance(weight, Tensor) or weight.layout is not torch.strided or weight.is_meta:
        return False
    return weight.is_floating_point() and bool(weight.float().isfinite().all())


def _sum_maps(first: Any, second: Any) -> Any:
    if first is None or second is None:
        return second if first is None else first
    if isinstance(first, Tensor):
        return first + second
    (a, b), (c, d) = first, second
    if b.shape == d.shape and torch.equal(b, d):
        return a + c, b
    return torch.cat([a, c], dim=1), torch.cat([b, d], dim=1)
