"""Which engines run an exported steer, which silently drop it, and how that is known.

    lm-steer engines

"checked" is tried at every export: it is loaded again and its logits compared. "read" was read in the engine's source
and not run. What is in neither list was not tried.
"""

from dataclasses import dataclass

from lm_steer.util.errors import LMSteerError


@dataclass(frozen=True)
class Engine:
    """What is known of one engine and one form of export, by the `model_type` of transformers."""

    name: str
    form: str
    known: str
    runs: tuple[str, ...]
    drops: tuple[str, ...]
    note: str


ANY = ("any",)
VLLM_READ = ("falcon", "gemma", "gemma3_text", "gpt2", "gptj", "granite", "llama", "opt", "qwen2")
ENGINES = (
    Engine("transformers", "checkpoint", "checked", ANY, (), "a linear head; a shift needs one with a bias"),
    Engine("transformers", "adapter", "checked", ANY, (), "by PEFT; do not merge it into a model whose head is tied"),
    Engine("vllm", "checkpoint", "read, 0.33", VLLM_READ, ("cohere", "cohere2", "gemma2"), "bloom: refused at loading"),
    Engine(
        "vllm",
        "adapter",
        "read, 2026",
        ("llama",),
        ("cohere", "cohere2", "gemma2"),
        "qwen2: refused at loading; --max-lora-rank of at least its rank, at most 512; a vocabulary of at most 258,048",
    ),
    Engine(
        "llama.cpp",
        "checkpoint",
        "run, 2026.10",
        ("granite", "llama", "mistral"),
        ("gemma", "gemma2"),
        "its converter; --python makes and checks the GGUF",
    ),
    Engine("llama.cpp", "adapter", "run, 2026.10", ("llama",), (), "an untied head alone"),
    Engine("tgi", "checkpoint", "read, 2025", ("llama",), ("gpt2",), "gpt2: its head is always the input embeddings"),
    Engine("tgi", "adapter", "not tried", (), (), ""),
)


def runs(name: str, form: str) -> tuple[str, ...]:
    """Return the types of model that an engine is known to run in a form."""
    return next(engine.runs for engine in ENGINES if (engine.name, engine.form) == (name, form))


NAMES = tuple(dict.fromkeys(engine.name for engine in ENGINES))


def check_engine(model_type: str, form: str, name: str | None) -> None:
    """Raise LMSteerError where the engine of this name (any of them, if None) would drop the steer without a word."""
    if name is not None and name not in NAMES:
        raise LMSteerError(f"unknown engine '{name}': choose {', '.join(NAMES)}")
    for engine in ENGINES:
        if engine.form == form and engine.name == (name or engine.name) and model_type in engine.drops:
            advice = "" if name else ", or say which engine it is for (--engine transformers)"
            raise LMSteerError(
                f"{engine.name} silently drops the steer from a {model_type} {form}: attach the steer in Python "
                f"instead{advice}"
            )


def markdown() -> str:
    """Return the table as the documentation has it."""
    head = ["engine", "form", "how it is known", "runs", "drops it silently", "note"]
    rows = [head, ["---"] * len(head)]
    for engine in ENGINES:
        lists = [", ".join(types) or "–" for types in (engine.runs, engine.drops)]
        rows.append([engine.name, engine.form, engine.known, *lists, engine.note])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
