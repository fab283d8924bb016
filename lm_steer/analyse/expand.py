"""The block `analyses` of a study, turned into ordinary steers, settings and tables that everything else knows.

    study, clashes = expanded(study)      # analyses.sweeps.mood makes settings mood-unsteered, mood-minus5, table mood

What is made carries the key `analysis`, its place in the block, and each block gets `points`: which setting stands for
which value, so that figures find them again. `problems` checks a block before; a clash is a name that is made twice.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

from lm_steer.util.words import number

Block = dict[str, Any]
UNSTEERED = "Unsteered"
# Those whose settings make figures together (effects.py).
EFFECT_KINDS = ("sweeps", "compositions", "transfers", "ablations")
# The model of the paper's figure 5b.
PUBLISHED_SIZES = "gpt2-large"
LABELS = {"add": "add: a shift of h", "offset": "offset: a bias on logits"}


def expanded(study: Block) -> tuple[Block, list[str]]:
    """Return the study with what its analyses need, and a sentence for each name or label that two things have.

    KeyErrors are excluded by `problems`.
    """
    study, clashes = copy.deepcopy(study), []
    study["adapters"] = {}
    for kind, make in EXPANSIONS.items():
        for name, block in study["analyses"][kind].items():
            place = f"analyses.{kind}.{name}"
            parts = {"settings": {}, "tables": {}, "steers": {}, "adapters": {}}
            block["points"] = list(make(name, block, study, parts))
            rows = {point["label"]: [point["setting"]] for point in block["points"]}
            parts["tables"][name] = {"title": name, "rows": rows, "published": _published(kind, block, study)}
            labels = [point["label"] for point in block["points"]]
            clashes += [f"{place}: two rows have the label '{label}'" for label in rows if labels.count(label) > 1]
            for part, items in parts.items():
                for key in items.keys() & study[part].keys():
                    maker = study[part][key].get("analysis")
                    other = f"{part}.{key}" + (f" of analyses.{maker}" if maker else "")
                    clashes.append(f"{place}: {other} has a name that this analysis makes: rename one")
                study[part] |= {key: {**item, "analysis": f"{kind}.{name}"} for key, item in items.items()}
    return study, clashes


def problems(study: Block) -> Iterator[str]:
    """Yield what is wrong with the block `analyses` of a study whose defaults are filled in."""
    for kind, blocks in study["analyses"].items():
        for name, block in blocks.items():
            place = f"analyses.{kind}.{name}"
            yield from _references(place, block, study)
            if kind == "compositions":
                for steer, axis in block["steers"].items():
                    yield from _values_of(f"{place}.steers.{steer}", steer, axis, study)
                    if 0 not in axis["values"]:
                        yield f"{place}.steers.{steer}.values: 0 is missing, which additivity is measured from"
            if kind == "transfers" and block["source"] == block["target"]:
                yield f"{place}: source and target are one model"
            base = study["steers"].get(block.get("steer"))
            if kind == "baselines" and (len(block["lora"]) == 1 or block["lora"] != sorted(block["lora"])):
                yield f"{place}.lora: expected the lowest and the highest label, found {block['lora']}"
            if kind == "baselines" and base and base["kind"] in block["kinds"]:
                yield f"{place}.kinds: '{base['kind']}' is the kind of the steer itself: leave it out"
            if kind == "ablations" and base and "corpus" in block["vary"] and "corpus" not in base["dimensions"]:
                yield f"{place}.vary.corpus: the steer '{block['steer']}' has no dimension 'corpus' to train without"
            if kind == "ablations" and base and "rank" in block["vary"] and base["kind"] != "multiply":
                yield f"{place}.vary.rank: a steer of kind {base['kind']} has no rank"
            if kind == "evidence" and block["value"] == 0:
                yield f"{place}.value: 0 is the unsteered model, which it is compared with: choose another value"
            if kind == "evidence" and bool(block["texts"]) == bool(block["path"]):
                yield f"{place}: give either the key 'texts' or the key 'path'"
            judge = study["scorers"].get(block.get("scorer"), {"kind": ""})["kind"]
            if judge == "causal-lm":
                yield f"{place}.scorer: '{block['scorer']}' measures perplexity, which single words have none of"
            if kind == "directions" and base and base["kind"] != "multiply":
                yield f"{place}: only a steer of kind multiply has singular directions"


def _references(place: str, block: Block, study: Block) -> Iterator[str]:
    for key, part, what in (
        ("prompts", "prompts", "set of prompts"),
        ("source", "models", "model"),
        ("target", "models", "model"),
    ):
        if key in block and block[key] not in study[part]:
            yield f"{place}.{key}: there is no {what} '{block[key]}'; there are {', '.join(study[part])}"
    for scorer in [*block.get("scorers", []), *([block["scorer"]] if block.get("scorer") else [])]:
        if scorer not in study["scorers"]:
            yield f"{place}: there is no scorer '{scorer}'; there are {', '.join(study['scorers'])}"
    if "steer" in block:
        yield from _values_of(place, block["steer"], block, study)


def _values_of(place: str, steer: str, block: Block, study: Block) -> Iterator[str]:
    """Yield what is wrong with the dimensions of one steer that a block names: `dimension`, `held` and `values`."""
    if steer not in study["steers"]:
        yield f"{place}: there is no steer '{steer}'; there are {', '.join(study['steers']) or 'none'}"
        return
    known, held = study["steers"][steer]["dimensions"], block.get("held", {})
    values = block["values"] if isinstance(block.get("values"), dict) else {}
    for named in (values, *block.get("kinds", {}).values(), held, [block["dimension"]] if "dimension" in block else []):
        for dimension in named:
            if dimension not in known:
                yield f"{place}: the steer '{steer}' has no dimension '{dimension}': it has {', '.join(known)}"
    if block.get("dimension") in held:
        yield f"{place}.held: '{block['dimension']}' is the dimension that varies: only others can be held"


# --- one function an analysis: it fills `parts` and yields points ------------------------------------------------


def _sweep(name: str, block: Block, study: Block, parts: Block) -> Iterator[Block]:
    yield _unsteered(name, block, parts)
    for value in sorted(block["values"]):
        steer = {block["steer"]: {block["dimension"]: value, **block["held"]}}
        label = f"{block['dimension']} {number(value)}"
        yield {"x": value, **_steered(name, number(value), label, block, parts, steer=steer)}


def _composition(name: str, block: Block, study: Block, parts: Block) -> Iterator[Block]:
    yield _unsteered(name, block, parts)
    (first, one), (second, other) = block["steers"].items()
    for x in sorted(one["values"]):
        for y in sorted(other["values"]):
            steer = {
                first: {one["dimension"]: x, **one["held"]},
                second: {other["dimension"]: y, **other["held"]},
            }
            label = f"{one['dimension']} {number(x)}, {other['dimension']} {number(y)}"
            slug = f"{number(x)}-{number(y)}"
            yield {"x": x, "y": y, **_steered(name, slug, label, block, parts, steer=steer)}


def _transfer(name: str, block: Block, study: Block, parts: Block) -> Iterator[Block]:
    yield _unsteered(name, block, parts, models=[block["target"]])
    trained = {"steer": {block["steer"]: block["values"]}, "models": [block["target"]]}
    yield {"method": "trained", **_steered(name, "trained", "Trained on the target", block, parts, **trained)}
    for method in block["methods"]:
        steer = f"{name}-{method}"
        values = {dimension: value * block["factor"] for dimension, value in block["values"].items()}
        parts["steers"][steer] = {
            **study["steers"][block["steer"]],
            "transfer": {key: block[key] for key in ("steer", "source", "target")} | {"method": method},
        }
        setting = {"steer": {steer: values}, "models": [block["target"]]}
        yield {"method": method, **_steered(name, method, f"Transferred, {method}", block, parts, **setting)}


def _ablation(name: str, block: Block, study: Block, parts: Block) -> Iterator[Block]:
    yield _unsteered(name, block, parts)
    base = study["steers"][block["steer"]]
    setting = {"steer": {block["steer"]: block["values"]}}
    yield {"key": "", **_steered(name, "as-it-is", "As it is", block, parts, **setting)}
    for key, tried in block["vary"].items():
        for value in tried:
            slug = f"{key.replace('_', '-')}-{_slug(number(value))}"
            steer = f"{name}-{slug}"
            values = dict(block["values"])
            if key == "corpus":
                parts["steers"][steer] = {**base, "dimensions": [one for one in base["dimensions"] if one != "corpus"]}
                values.pop("corpus", None)
                label = "without the corpus dimension"
            else:
                parts["steers"][steer] = {**base, key: value}
                label = f"{key} {str(value).lower() if isinstance(value, bool) else number(value)}"
            made = _steered(name, slug, label, block, parts, steer={steer: values})
            yield {"key": key, "value": value, "base": base.get(key), **made}


def _baselines(name: str, block: Block, study: Block, parts: Block) -> Iterator[Block]:
    yield _unsteered(name, block, parts)
    base = study["steers"][block["steer"]]
    yield _steered(name, "steer", "LM-Steer", block, parts, steer={block["steer"]: block["values"]})
    for kind, values in block["kinds"].items():
        steer = f"{name}-{kind}"
        parts["steers"][steer] = {**base, "kind": kind}
        yield _steered(name, kind, LABELS[kind], block, parts, steer={steer: values})
    if block["lora"]:
        adapter = f"{name}-lora"
        keys = ("dataset", "rank", "dimensions", "steps", "batch_size", "max_length", "texts")
        recipe = {key: base[key] for key in keys}
        parts["adapters"][adapter] = {
            **recipe,
            "labels": block["lora"],
            "learning_rate": block["lora_learning_rate"],
        }
        setting = {"adapter": adapter, "models": study["steered"]}
        yield _steered(name, "lora", "LoRA of equal budget", block, parts, **setting)
    if block["prefix"]:
        yield _steered(name, "prefix", f"Prefix: {block['prefix'].strip()}", block, parts, prefix=block["prefix"])
    for index, (label, path) in enumerate(block["external"].items(), start=1):
        made = _steered(name, f"external-{index}", label, block, parts, generations=path)
        del parts["settings"][made["setting"]]["against"]
        yield made


def _published(kind: str, block: Block, study: Block) -> Block:
    """Return which rows the paper has of the same, as a table's key `published` has it, or nothing."""
    metrics = ["avg_max_toxicity", "perplexity"]
    if kind == "sweeps" and block["dimension"] == "detox":
        rows = {point["label"]: f"{{model}} value {point['x']:g}" for point in block["points"] if "x" in point}
        table, metrics = "value sweep", [*metrics, "toxicity_probability"]
    elif kind == "ablations" and "texts" in block["vary"] and PUBLISHED_SIZES in study["steered"]:
        sizes = {point["label"]: point["value"] for point in block["points"] if point.get("key") == "texts"}
        rows = {label: {PUBLISHED_SIZES: f"{size} texts"} for label, size in sizes.items()}
        table = "data size"
    else:
        return {}
    return {"table": table, "rows": rows, "metrics": {block["prompts"]: dict(zip(metrics, metrics, strict=True))}}


def _unsteered(name: str, block: Block, parts: Block, **setting: Any) -> Block:
    parts["settings"][f"{name}-unsteered"] = {"prompts": block["prompts"], "scorers": block["scorers"], **setting}
    return {"label": UNSTEERED, "setting": f"{name}-unsteered"}


def _steered(name: str, slug: str, label: str, block: Block, parts: Block, **setting: Any) -> Block:
    key = f"{name}-{_slug(slug)}"
    common = {"prompts": block["prompts"], "scorers": block["scorers"], "against": f"{name}-unsteered"}
    parts["settings"][key] = {**common, **setting}
    return {"label": label, "setting": key}


def _slug(text: str) -> str:
    """Numbers as part of a name: -2.5 → minus2p5; letters and hyphens stay."""
    characters = []
    for index, char in enumerate(text):
        is_sign = char == "-" and text[index + 1 : index + 2].isdigit() and (index == 0 or text[index - 1] in "-e")
        characters.append("minus" if is_sign else {".": "p", "+": ""}.get(char, char))
    return "".join(characters)


EXPANSIONS: dict[str, Callable[[str, Block, Block, Block], Iterator[Block]]] = {
    "sweeps": _sweep,
    "compositions": _composition,
    "transfers": _transfer,
    "ablations": _ablation,
    "baselines": _baselines,
}
