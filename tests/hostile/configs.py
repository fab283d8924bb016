"""Studies: keys with nonsense for values, names that clash, and a config that does not mean what it says."""

from collections.abc import Iterator
from typing import Any

from hostile.cases import EITHER, FINE, Case, put

INF, NAN = float("inf"), float("nan")
PERPLEXITY = {"kind": "causal-lm", "model": "tiny"}
STYLED = {"prompts": "few", "scorers": ["toxicity"], "steer": {"style": {"style": 5}}, "against": "plain"}
SWEEP = {"prompts": "few", "steer": "style", "dimension": "style", "values": [-5, 0, 5], "scorers": ["toxicity"]}


def key(path: str, value: Any) -> dict[str, Any]:
    """Return the change of one key, named by its path."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


NUMBERS = {
    "steers.style.rank": [0, -1, 1.7, NAN, INF, "many", [], True, 1e400],
    "steers.style.steps": [0, -1, 1.7, "ten", True],
    "steers.style.batch_size": [0, -2, 1.5],
    "steers.style.epsilon": [0, -1, NAN, INF, "small", True],
    "steers.style.learning_rate": [0, -1, NAN, INF, True],
    "steers.style.regularization": [-1, NAN, INF],
    "steers.style.max_length": [0, -1, 2.5],
    "steers.style.count": [-1],
    "steers.style.texts": [-1, 1.5, NAN],
    "sampling.samples": [0, -1, 1.7, NAN, True],
    "sampling.new_tokens": [0, -1, 1.7],
    "sampling.top_p": [0, -1, 2, NAN, INF],
    "sampling.top_k": [-1, 1.7, NAN],
    "seeds": [[-1], [1.5], [], [0, 0], 0, ["a"], [1e30], [2**64], [True]],
    "shards": [0, -1, 1.5, True],
    "prompts.few.count": [-1, 0, 1.5, NAN],
    "prompts.few.words": [0, -1, 1.5],
    "prompts.few.labels": [[1, 0], [NAN, 1], [0], [INF, INF], ["a", "b"], [-1, 0, 1]],
    "settings.styled.steer.style.style": [NAN, INF, "five", [5], True],
    "settings.plain.perplexity_limit": [-1, NAN],
}
WRONG: list[tuple[Any, str]] = [
    ([], ""),
    ({"models": {}}, "models"),
    ({"models": []}, "models"),
    ({"models": {"my model": {"source": "folder", "id": "origin"}}}, "my model"),
    ({"models": {"../up": {"source": "folder", "id": "origin"}}}, "up"),
    ({"models": {"": {"source": "folder", "id": "origin"}}}, "models"),
    ({"models": {"external": {"source": "folder", "id": "origin"}}}, "external"),
    ({"models": {"tiny": {"source": "folder", "id": ""}}}, "id"),
    ({"models": {"tiny": {"source": "floder", "id": "origin"}}}, "folder"),
    ({"models": {"tiny": {"source": "folder", "id": 5}}}, "id"),
    ({"models": {"tiny": "origin"}}, "models.tiny"),
    ({"models": {False: {"source": "folder", "id": "origin"}}}, ""),
    ({"models": {1: {"source": "folder", "id": "origin"}}}, ""),
    ({"models": {None: {"source": "folder", "id": "origin"}}}, ""),
    ({"settings": {False: STYLED}}, ""),
    ({"settings": {1: STYLED}}, ""),
    ({"models": {"again": {"source": "rotated", "id": "none"}}}, "none"),
    ({"models": {"again": {"source": "rotated", "id": "again"}}}, "again"),
    ({"models": {"Tiny": {"source": "folder", "id": "origin"}}}, "tiny"),
    ({"models": None, "prompts": None}, "models(.|\n)*prompts"),
    ({"sampling": None, "tables": None, "scorers": None}, "sampling(.|\n)*tables|tables(.|\n)*sampling"),
    ({"seads": [1]}, "seads"),
    ({"steered": ["none"]}, "none"),
    ({"datasets": {"mine": {"source": "file"}}, "x": 1}, "x"),
    ({"datasets": {"mine": {"path": ""}}}, "path"),
    ({"steers": {"style": {"dataset": "none"}}}, "none"),
    ({"steers": {"style": {"dimensions": []}}}, "dimensions"),
    ({"steers": {"style": {"dimensions": ["style", "style"]}}}, "dimensions"),
    ({"steers": {"style": {"dimensions": ["style", "tone"]}}}, "dimension"),
    ({"steers": {"style": {"dimensions": ["corpus"]}}}, "dimension"),
    ({"steers": {"style": {"dimensions": ["my style", "corpus"]}}}, "my style"),
    ({"steers": {"style": {"dimensions": ["a=b", "corpus"]}}}, "a=b"),
    ({"steers": {"style": {"dimensions": [5, "corpus"]}}}, "5"),
    ({"steers": {"style": {"dimensions": "style"}}}, "dimensions"),
    ({"steers": {"style": {"kind": "subtract"}}}, "subtract"),
    ({"settings": {"styled": {"against": "styled"}}}, "styled"),
    ({"settings": {"other": {**STYLED, "against": "styled"}}}, "styled"),
    ({"settings": {"plain": {"against": "styled"}}}, "against"),
    ({"settings": {"plain": {"against": "plain"}}}, "plain"),
    ({"settings": {"styled": {"against": "none"}}}, "none"),
    ({"settings": {"styled": {"steer": {"none": {"style": 5}}}}}, "none"),
    ({"settings": {"styled": {"steer": {"style": {"tone": 5}}}}}, "tone"),
    ({"settings": {"styled": {"steer": {"style": 5}}}}, "style"),
    ({"settings": {"styled": {"scorers": ["none"]}}}, "none"),
    ({"settings": {"styled": {"scorers": "toxicity"}}}, "scorers"),
    ({"settings": {"styled": {"prompts": "none"}}}, "none"),
    ({"settings": {"styled": {"sampling": {"top_p": 2}}}}, "top_p"),
    ({"settings": {"styled": {"sampling": {"samples": 0}}}}, "samples"),
    ({"settings": {"styled": {"generations": "g.jsonl"}}}, "generations"),
    ({"settings": {"a b": STYLED}}, "a b"),
    ({"settings": {"Styled": STYLED}}, "styled"),
    ({"scorers": {"perplexity": {"model": "none"}}}, "none"),
    ({"scorers": {"toxicity": {"kind": "nose"}}}, "the kind 'nose' is unknown"),
    ({"scorers": {"toxicity": [None]}}, "toxicity: expected a mapping"),
    ({"settings": {"styled": {"against": "x" * 3000}}}, "xxx…"),
    ({"scorers": {"toxicity": {"model": "tiny"}}}, "model"),
    ({"scorers": {"c": {"kind": "classifier"}}}, "classifier"),
    ({"scorers": {"c": {"kind": "classifier", "id": "a/b/c", "label": "x", "attribute": "toxicity"}}}, "a/b/c"),
    ({"scorers": {"c": {"kind": "perspective", "queries_per_second": 0}}}, "queries_per_second"),
    ({"scorers": {"c": {"kind": "perspective", "queries_per_second": -1}}}, "queries_per_second"),
    ({"scorers": {"c": {"kind": "perspective", "queries_per_second": NAN}}}, "queries_per_second"),
    ({"scorers": {"c": {"kind": "perspective", "version": "1"}}}, "version"),
    ({"tables": {}}, "tables"),
    ({"tables": {"effect": {"rows": {"Steered": ["none"]}}}}, "none"),
    ({"tables": {"effect": {"rows": {"Steered": ["plain", "plain"]}}}}, "prompts"),
    ({"tables": {"effect": {"rows": {}}, "none": None, "bad": {"title": 5}}}, "bad"),
    ({"tables": {"effect": {"scorers": ["none"]}}}, "none"),
    ({"analyses": {"sweeps": {"s": {**SWEEP, "held": {"style": 1}}}}}, "held|style"),
    ({"analyses": {"sweeps": {"s": {**SWEEP, "held": {"tone": 1}}}}}, "tone"),
    ({"analyses": {"sweeps": {"s": {**SWEEP, "values": []}}}}, "values"),
    ({"analyses": {"sweeps": {"s": {**SWEEP, "values": [5, 5]}}}}, "values"),
    ({"analyses": {"sweeps": {"s": {**SWEEP, "values": [NAN, 5]}}}}, "values|finite|nan"),
    ({"analyses": {"sweeps": {"s": {**SWEEP, "values": [INF, 5]}}}}, "values|finite|inf"),
    ({"analyses": {"sweeps": {"s": {**SWEEP, "values": ["five"]}}}}, "values"),
    ({"analyses": {"sweeps": {"s": {**SWEEP, "steer": "none"}}}}, "none"),
    ({"analyses": {"sweeps": {"s": {**SWEEP, "prompts": "none"}}}}, "none"),
    ({"analyses": {"sweeps": {"s": {**SWEEP, "dimension": "tone"}}}}, "tone"),
    ({"analyses": {"sweeps": {"s t": SWEEP}}}, "s t"),
    ({"analyses": {"sweps": {}}}, "sweps"),
    ({"datasets": {"mine": {"path": " "}}}, "expected text that is not empty"),
]
RIGHT: list[Any] = [
    None,
    {"title": "A <b>study</b> & \u2603"},
    {"steers": {"style": {"learning_rate": "1e-2", "rank": "4"}}},
    {"settings": {"styled": {"steer": {"style": {"style": -5.5}}}}},
    {"seeds": [0, 1, 2]},
]
# Text of a config file, which Snakemake reads before anyone else: read strictly by name of file and line.
YAML = {
    "a: [1, 2": "2|1",
    "a: b: c": "1",
    "\ta: 1": "1",
    "a: 1\na: 2": "a",
    "models:\n  tiny: {id: x}\n  tiny: {id: y}": "tiny",
    "settings:\n  no: {prompts: few}": "no|quotes",
    "settings:\n  1: {prompts: few}": "1|quotes",
    "settings:\n  ~: {prompts: few}": "quotes",
    "settings:\n  2020-01-01: {prompts: few}": "quotes",
    "a: !!python/object/apply:os.system ['touch owned']": "",
    "a: &a [*a]": "",
    "a: !!bool x": "1",
    "a: 0x10": "not decimal",
    "a: 0b11": "not decimal",
    "a: 1_0": "not decimal",
    "a0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(40)): "aliases stand for",
    "a: \x00": "",
    "? [1, 2]\n: 3": "",
    "[" * 5000: "",
}


def configs() -> Iterator[Case]:
    """Yield the cases of this file."""
    for path, values in NUMBERS.items():
        for value in values:
            yield _case(key(path, value), path.split(".")[-1] if "settings" not in path else "")
    for change, says in WRONG:
        yield _case(change, says)
    for change in RIGHT:
        yield _case(change, "", FINE)
    for text, says in YAML.items():
        yield Case("configs", "py:strict(Path('out.yaml').read_text())", says=says, before=put("out.yaml", text))
    # What is no mapping at all is told by Snakemake itself.
    for text in ("- 1", "just text", ""):
        yield Case("configs", "py:strict(Path('out.yaml').read_text())", EITHER, before=put("out.yaml", text))
    right = "models:\n  tiny: {source: folder}\n"
    yield Case("configs", f"py:strict({right!r})", FINE)


def _case(change: Any, says: str, expect: str = "refused") -> Case:
    written = repr(change).replace(": nan", ": NAN").replace("[nan", "[NAN").replace("nan]", "NAN]")
    written = (
        written.replace("inf]", "INF]").replace("[inf", "[INF").replace(": inf", ": INF").replace(" nan,", " NAN,")
    )
    return Case("configs", f"py:NAN, INF = float('nan'), float('inf')\nconfig({written})", expect, says)
