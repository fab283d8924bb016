import pytest
import tiny
import torch

from lm_steer.score import perplexity
from lm_steer.score.perplexity import PARTS, causal_lm
from lm_steer.score.store import Item, ScoreStore

ITEMS = [
    Item("The movie", " was a joy to watch."),
    Item("The mov", "ie was dull."),
    Item("The mov", "ie"),
    Item("The film", ""),
    Item("T", "he acting is fine."),
    Item("A", " joy"),
    Item("A", ""),
    Item("What a waste", " of time; the plot makes no sense at all. " * 2),
    Item("Nobody in this", "\n\u00e9t\u00e9 \U0001f600"),
]


def restated(loaded, item: Item) -> tuple[float, float]:
    """NLL(whole) - NLL(prompt), and their difference in tokens, each from the model's own logits."""

    def nll(text: str) -> tuple[float, int]:
        ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
        logits = tiny.logits_of(loaded.model, ids)[0, :-1].double()
        return -logits.log_softmax(-1).gather(1, ids[0, 1:, None]).sum().item(), ids.shape[1]

    (whole, all_tokens), (prompt, prompt_tokens) = nll(item.prompt + item.continuation), nll(item.prompt)
    return whole - prompt, all_tokens - prompt_tokens


def judged(loaded, items: list[Item]) -> dict[Item, tuple[float, ...]]:
    return {items[index]: answer for index, answer in causal_lm(loaded, "tiny").judge(items)}


def merges(loaded, item: Item) -> bool:
    prompt, whole = (loaded.tokenizer(text)["input_ids"] for text in (item.prompt, item.prompt + item.continuation))
    return whole[: len(prompt)] != prompt


@pytest.mark.parametrize("name", ["llama-padded-vocabulary", "gpt2", "gemma2", "cohere"])
def test_scores_equal_a_plain_restatement(make_loaded, name):
    loaded = make_loaded(name)
    found = judged(loaded, ITEMS)
    for item in ITEMS:
        nll, tokens = restated(loaded, item)
        assert found[item] == (pytest.approx(nll, rel=1e-4, abs=1e-3), tokens), item


def test_the_examples_hold_tokens_that_merge_across_the_boundary(loaded):
    assert [merges(loaded, item) for item in ITEMS].count(True) >= 3
    assert any(restated(loaded, item)[1] == 0 and item.continuation for item in ITEMS)


def test_an_empty_continuation_has_no_token_and_no_loss(loaded):
    assert judged(loaded, [Item("The film", "")])[Item("The film", "")] == (0.0, 0.0)


# More continuations of one prompt, of many lengths, than are judged in one go.
MORE = [Item("The movie", f" {sentence[:end]}") for sentence in tiny.SENTENCES for end in range(1, 40, 3)]


@pytest.mark.parametrize("others", [[], MORE, MORE[:3], MORE[::-7], ITEMS[::-1]], ids=len)
def test_a_score_does_not_depend_on_what_else_is_scored(loaded, others):
    together = judged(loaded, list(dict.fromkeys([*others, *ITEMS])))
    assert all(together[item] == judged(loaded, [item])[item] for item in ITEMS)


def test_many_texts_are_tokenised_in_parts_and_keep_their_places():
    first, most = PARTS
    items = [Item("a", str(number)) for number in range(first + 2 * most)]
    sizes = []

    def tokenise(texts):
        sizes.append(len(texts))
        return [[*map(ord, text)] for text in texts]

    def nll_of(pairs):
        return ((index, float(sum(second))) for index, (_, second) in enumerate(pairs))

    answers = dict(perplexity.summed_nll(items, tokenise, nll_of))
    assert answers == {n: (sum(map(ord, str(n))), len(str(n))) for n in range(len(items))}
    assert sizes[1] == first and max(sizes) == most


def test_many_continuations_of_a_prompt_equal_the_restatement(loaded):
    found = judged(loaded, MORE)
    for item in MORE:
        nll, tokens = restated(loaded, item)
        assert found[item] == (pytest.approx(nll, rel=1e-4, abs=1e-3), tokens), item


def test_where_the_prompt_ends_is_part_of_the_text_that_is_kept(loaded, tmp_path):
    items = [Item("The movie", " was fine."), Item("The movie was", " fine.")]
    first, second = ScoreStore(tmp_path / "scores.sqlite").scores(causal_lm(loaded, "tiny"), items)
    assert first[1] > second[1]
    assert first == (pytest.approx(restated(loaded, items[0])[0], rel=1e-4), restated(loaded, items[0])[1])


def test_nothing_to_judge_is_no_error(loaded):
    assert judged(loaded, []) == {}


def test_the_version_names_the_judge_and_its_weights(loaded, make_loaded):
    assert causal_lm(loaded, "tiny").version.startswith("tiny ")
    assert causal_lm(loaded, "tiny").version != causal_lm(make_loaded("llama"), "tiny").version


def test_the_judges_parameters_get_no_gradients(loaded):
    judged(loaded, ITEMS[:2])
    assert all(parameter.grad is None for parameter in loaded.model.parameters())
    assert torch.is_grad_enabled()
