"""Perplexity by vLLM's log-probabilities of prompts, for judges that do not fit on one GPU."""

from collections.abc import Iterator, Sequence

from lm_steer.interop.vllm_engine import Vllm, ids_of
from lm_steer.score.perplexity import Pair, exact_text, summed_nll, templated
from lm_steer.score.store import Item, Scorer, Scores
from lm_steer.util.files import fingerprint
from lm_steer.util.formats import hub_name, read_record


def causal_lm(engine: Vllm) -> Scorer:
    """Return the judge of perplexity, like that of score/perplexity.py but by vLLM's log-probabilities."""
    name = hub_name(engine.folder) or engine.folder.name
    identity = fingerprint([read_record(engine.folder)["files"], engine.dtype, *filter(None, [engine.options])])

    def judge(items: Sequence[Item]) -> Scores:
        tokenizer = engine.tokenizer
        return summed_nll(
            templated(tokenizer, items), lambda texts: ids_of(tokenizer, texts), lambda pairs: _nll(engine, pairs)
        )

    return Scorer(
        name="causal-lm",
        version=f"{name} {identity} vllm",
        attributes=("nll", "tokens"),
        text=exact_text,
        judge=judge,
    )


def _nll(engine: Vllm, pairs: list[Pair]) -> Iterator[tuple[int, float]]:
    requests = [{"ids": [*first, *second], "start": len(first)} for first, second in pairs if second]
    sums = iter(engine.answers(requests, None, []) if requests else [])
    for index, (_, second) in enumerate(pairs):
        yield index, next(sums) if second else 0.0
