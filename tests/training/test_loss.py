import pytest
import tiny
import torch

from lm_steer import LMSteerError
from lm_steer.model.head import Head, head_of
from lm_steer.training import loss
from lm_steer.training.learn import steered_nll
from lm_steer.training.loss import head_cross_entropy

TOKENS, WIDTH, VOCABULARY, RANK, EPSILON = 23, 12, 37, 3, 0.05
SHAPES = {
    "multiply": {"A": (2, WIDTH, RANK), "B": (2, WIDTH, RANK)},
    "add": {"a": (2, WIDTH)},
    "offset": {"o": (2, VOCABULARY)},
}


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=[(1.0, None), (0.3, None), (1.0, 5.0), (0.5, 3.0)], ids=lambda p: f"scale={p[0]},cap={p[1]}")
def head(request) -> Head:
    return Head(draw(VOCABULARY, WIDTH, seed=0), draw(VOCABULARY, seed=1), *request.param)


@pytest.fixture(params=[1, 4, 23, 1000], ids=lambda rows: f"chunks of {rows}")
def chunk(request, monkeypatch) -> None:
    monkeypatch.setattr(loss, "CHUNK_BYTES", 4 * VOCABULARY * request.param)


def stated(head: Head, kind: str, weights, hidden, targets, values) -> torch.Tensor:
    """The paper's equations on full logits: h' = h + ε Σ v (h B) Aᵀ, softcap(scale · (W h' + b)), -log softmax."""
    offset = torch.zeros(VOCABULARY)
    steered = hidden
    for k in range(2):
        v = EPSILON * values[:, k, None]
        if kind == "multiply":
            steered = steered + v * (hidden @ weights["B"][k] @ weights["A"][k].T)
        elif kind == "add":
            steered = steered + v * weights["a"][k]
        else:
            offset = offset + v * weights["o"][k]
    logits = head.scale * (steered @ head.weight.T + head.bias + offset)
    if head.softcap:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    return -logits.log_softmax(-1)[torch.arange(TOKENS), targets]


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("kind", tiny.KINDS)
def test_loss_and_gradients_equal_the_formula_on_full_logits(kind, head):
    hidden, values = draw(TOKENS, WIDTH, seed=2), draw(TOKENS, 2, seed=3) * 4
    targets = torch.randint(VOCABULARY, (TOKENS,), generator=torch.Generator().manual_seed(4))
    # Unequal weights a token, so that a gradient that ignores the one that comes in is found out.
    importance = draw(TOKENS, seed=5)

    def run(function) -> tuple[torch.Tensor, list[torch.Tensor]]:
        weights = {n: draw(*s, seed=6 + i).requires_grad_() for i, (n, s) in enumerate(SHAPES[kind].items())}
        nll = function(weights)
        (nll * importance).sum().backward()
        return nll.detach(), [weight.grad for weight in weights.values()]

    nll, grads = run(lambda w: steered_nll(head, kind, w, EPSILON, hidden, targets, values))
    expected, expected_grads = run(lambda w: stated(head, kind, w, hidden, targets, values))
    torch.testing.assert_close(nll, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(grads, expected_grads, atol=1e-4, rtol=1e-3)


@pytest.mark.usefixtures("chunk")
def test_gradient_for_the_hidden_states(head):
    targets = torch.arange(TOKENS)
    ours, full = (draw(TOKENS, WIDTH, seed=2).requires_grad_() for _ in range(2))
    head_cross_entropy(head, ours, targets).mean().backward()
    torch.nn.functional.cross_entropy(head.logits(full), targets).backward()
    torch.testing.assert_close(ours.grad, full.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_nll_equals_the_models_own_loss(name, ids):
    model = tiny.make_model(name)
    states = []
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))
    expected = model(ids, labels=ids).loss
    hook.remove()
    nll = head_cross_entropy(head_of(model), states[0][:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    torch.testing.assert_close(nll.mean(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["llama", "gemma2", "cohere", "granite"])
def test_a_model_that_does_more_to_its_logits_is_refused(name):
    model = tiny.make_model(name)
    forward = model.forward

    def bent(*args, **kwargs):
        out = forward(*args, **kwargs)
        out.logits = out.logits + out.logits.sin()
        return out

    model.forward = bent
    with pytest.raises(LMSteerError, match="not trained"):
        head_of(model)


@pytest.mark.parametrize(("name", "scale", "softcap"), [("llama", 1, None), ("gemma2", 1, 5), ("granite", 1 / 3, None)])
@pytest.mark.parametrize("factor", [1, 0.7])
def test_scale_and_softcap_are_learned_from_the_logits(name, scale, softcap, factor):
    model = tiny.make_model(name)
    if factor != 1:
        # What the config does not name.
        model.get_output_embeddings().register_forward_hook(lambda _, inputs, output: factor * output)
    head = head_of(model)
    assert head.scale == (scale if factor == 1 else pytest.approx(scale * factor, rel=1e-5))
    assert head.softcap == softcap


def test_logits_that_are_not_finite_are_refused():
    model = tiny.make_model("llama")
    model.get_output_embeddings().weight.data[7, 3] = torch.nan
    with pytest.raises(LMSteerError, match="not finite"):
        head_of(model)
