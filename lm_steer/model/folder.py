"""Check a model folder's files before the model is built from them.

check_folder(Path("results/models/smollm2"))
"""

import math
import re
from pathlib import Path

from safetensors import safe_open

from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import read_json, reading
from lm_steer.util.options import is_whole

# Keys of config.json that determine the model's size.
LAYERS = re.compile(r"(num|n)_(hidden_|decoder_|encoder_)?layers?")
SIZES = re.compile(
    r"vocab_size|hidden_size|intermediate_size|head_dim|d_model|n_embd|n_inner|ffn_dim|(num|n)_.*(heads?|experts)"
)
ADAPTER = "adapter_config.json"
SETTINGS = ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json")


def check_own_weights(folder: Path, name: str) -> None:
    """Raise LMSteerError, calling the folder `name`, if transformers would load weights from outside it.

    An adapter names another model, and an index may name files outside the folder.
    """
    if (folder / ADAPTER).exists():
        raise LMSteerError(
            f"{name} contains {ADAPTER}, so it is an adapter and not a model: merge the adapter into its model, or "
            "remove the file if the weights are complete"
        )
    for index in folder.glob("*.safetensors.index.json"):
        for file in read_json(index, {"weight_map": dict})["weight_map"].values():
            if file != Path(str(file)).name:
                raise LMSteerError(f"{name}/{index.name}: expected files of the same folder, found {str(file)!r:.80}")


def check_folder(folder: Path) -> None:
    """Raise LMSteerError if settings are not mappings, or if the config is of a far larger model than the weights.

    Building such a model could take hours or fill the memory before its weights turn out not to fit.
    """
    check_own_weights(folder, str(folder))
    for name in SETTINGS:
        if (folder / name).exists():
            read_json(folder / name, dict)
    weights = [path for path in folder.glob("*.safetensors") if (folder / "config.json").exists()]
    shapes: list[list[int]] = []
    for path in weights:
        with reading(path, "a whole safetensors file"), safe_open(path, "pt") as file:
            shapes += [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    if not shapes:
        return
    # Up to eight weights may be packed into one number.
    largest = 8 * max(size for shape in shapes for size in [1, *shape])
    config = read_json(folder / "config.json", dict)
    text_config = config.get("text_config")
    for name, value in [*config.items(), *(text_config.items() if isinstance(text_config, dict) else ())]:
        most = len(shapes) if LAYERS.fullmatch(name) else largest if SIZES.fullmatch(name) else math.inf
        if is_whole(value) and value > most:
            raise LMSteerError(
                f"{folder / 'config.json'}: {name} is {value:,}, but the {len(shapes):,} weight tensors are of a "
                "smaller model: replace the config or the weights by those of the same model"
            )
