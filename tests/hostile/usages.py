"""Right uses of steers and handles: what may be done or refused, but never wrongly."""

# A name, and what must hold after START of handles.py.
RIGHT = r"""
## a reloaded steer is equal
assert Steer.from_pretrained('steer') == made_steer()
## another is not
assert Steer.from_pretrained('steer') != made_steer(seed=5)
assert steer != 2 * steer
## a steer equals nothing else
assert steer != 5 and steer != None and not steer == 'steer'
## a short text
assert len(repr(steer)) < 300, len(repr(steer))
## sum
assert torch.allclose(sum([steer, steer]).vector({'style': 1}), steer.vector({'style': 1}))
m = tiny.make_model(world.KIND)
with attach(m, sum([steer, steer])).at(style=1): assert torch.allclose(logits(m), steered(style=2), atol=1e-4)
## division
m = tiny.make_model(world.KIND)
with attach(m, steer / 2).at(style=2): assert torch.allclose(logits(m), steered(style=1), atol=1e-4)
## difference
m = tiny.make_model(world.KIND)
with attach(m, steer - steer).at(style=2): assert torch.allclose(logits(m), plain, atol=1e-4)
## negation
m = tiny.make_model(world.KIND)
with attach(m, -steer).at(style=-2): assert torch.allclose(logits(m), steered(style=2), atol=1e-4)
## set and reset
h = attach(model, steer)
h.set(style=3)
assert torch.equal(logits(), steered(style=3))
h.reset()
assert torch.equal(logits(), plain)
## set nonsense
h = attach(model, steer)
assert refused(lambda: h.set(tone=3)) and refused(lambda: h.set(style=float('nan')))
assert torch.equal(logits(), plain)
## a bad block changes nothing
h = attach(model, steer)
assert refused(lambda: h.at(tone=1).__enter__())
assert torch.equal(logits(), plain)
## a bad inner block
h = attach(model, steer)
with h.at(style=2):
    assert refused(lambda: h.at(tone=1).__enter__())
    assert torch.equal(logits(), steered(style=2))
assert torch.equal(logits(), plain)
## nested blocks
h = attach(model, steer)
with h.at(style=2):
    with h.at(style=-3):
        assert torch.equal(logits(), steered(style=-3))
    assert torch.equal(logits(), steered(style=2))
assert torch.equal(logits(), plain)
## blocks left out of order
h = attach(model, steer)
a, b = h.at(style=2), h.at(style=-3)
a.__enter__(); b.__enter__()
a.__exit__(None, None, None)
assert torch.equal(logits(), steered(style=-3))
b.__exit__(None, None, None)
assert torch.equal(logits(), plain)
## threads that attach
threads = [threading.Thread(target=lambda: attach(model, made_steer())) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
assert len(model.lm_head._forward_pre_hooks) == 1
## an array of factors
try: assert not isinstance(np.array([1.0, 2.0]) * steer, np.ndarray)
except TypeError: pass
## weights and an epsilon of NumPy's, in another order and precision
odd = Steer(steer.dimensions, {name: steer.weights[name].double() for name in 'BA'}, epsilon=np.float64(steer.epsilon))
odd.save_pretrained('out')
assert Steer.from_pretrained('out') == odd == steer
## weights that are being learned
attach(model, Steer(steer.dimensions, {name: w.clone().requires_grad_() * 1 for name, w in steer.weights.items()}))
assert torch.equal(logits(copy.deepcopy(model)), plain)
## prompts that each have a value
from lm_steer.model.load import LoadedModel
loaded = load()
with attach(loaded.model, steer).at(style=[3, -3]):
    assert refused(lambda: continuations(loaded, ['The movie', 'What'], Sampling(samples=1, new_tokens=2), 'texts'))
## a training where nothing is differentiated
learned = []
for mode in (torch.enable_grad, torch.inference_mode):
    with mode():
        learned.append(train(model, load().tokenizer, ['a b', 'c d', 'e f'], [1, -1, 1], steps=1, rank=2))
assert learned[0] == learned[1]
## columns of pandas
columns = LabelledTexts(pd.Series(['a', 'b'], index=[7, 3]), pd.Series([1, -1], index=[3, 7]))
assert (columns.texts, columns.labels) == (['a', 'b'], [1.0, -1.0])
## a playground where the numbers end
from lm_steer.demo.playground import Playground
loaded = load()
play = Playground(loaded, attach(loaded.model, steer))
assert refused(lambda: list(play.stream('The', {'style': 1e30})))
assert refused(lambda: list(play.stream('The', {'style': 1}, new_tokens=100)))
## an exception in a block
h = attach(model, steer)
try:
    with h.at(style=2): raise KeyError
except KeyError: pass
assert torch.equal(logits(), plain)
## one block twice
h = attach(model, steer)
b = h.at(style=2)
with b: pass
try:
    with b: assert torch.equal(logits(), steered(style=2))
except (RuntimeError, AttributeError, LMSteerError): pass
assert torch.equal(logits(), plain)
## two threads
h = attach(model, steer)
wrong, told = [], []
def work(value):
    want = steered(style=value)
    for _ in range(15):
        try:
            with h.at(style=value):
                if not torch.equal(logits(), want):
                    wrong.append(value)
        except LMSteerError as error:
            told.append(error)
threads = [threading.Thread(target=work, args=(value,)) for value in (2.0, -4.0)]
[t.start() for t in threads]; [t.join() for t in threads]
assert not wrong, len(wrong)
assert torch.equal(logits(), plain)
## a thread within a block
h = attach(model, steer)
seen = []
def work():
    try:
        with h.at(style=-4): seen.append(torch.equal(logits(), steered(style=-4)))
    except LMSteerError: pass
with h.at(style=2):
    t = threading.Thread(target=work); t.start(); t.join()
    assert torch.equal(logits(), steered(style=2))
assert all(seen) and torch.equal(logits(), plain)
## two generators
h = attach(model, steer)
def stream(value):
    with h.at(style=value):
        for _ in range(3):
            yield logits()
a, b = stream(2.0), stream(-4.0)
try:
    for one, other in zip(a, b):
        assert torch.equal(one, steered(style=2.0)), 'first'
        assert torch.equal(other, steered(style=-4.0)), 'second'
except LMSteerError: pass
a.close(); b.close()
assert torch.equal(logits(), plain)
## a generator inside a block
h = attach(model, steer)
def stream(value):
    with h.at(style=value):
        yield logits()
with h.at(style=2.0):
    assert refused(lambda: next(stream(-4.0)))
    assert torch.equal(logits(), steered(style=2.0))
## a decorated function that returns a generator
h = attach(model, steer)
def stream():
    yield logits()
assert refused(h.at(style=2.0)(lambda: stream()))
## generators that end apart
h = attach(model, steer)
def stream(value):
    with h.at(style=value):
        yield logits()
a, b = stream(2.0), stream(-4.0)
try:
    next(a); next(b)
except LMSteerError: pass
a.close()
b.close()
assert torch.equal(logits(), plain)
## rows of values
h = attach(model, steer)
with h.at(style=[1.0, 2.0]):
    assert refused(lambda: model(ids.repeat(3, 1)))
assert torch.equal(logits(), plain)
## numpy and torch numbers
h = attach(model, steer)
with h.at(style=np.float32(2)): assert torch.equal(logits(), steered(style=2))
with h.at(style=torch.tensor(2.0)): assert torch.equal(logits(), steered(style=2))
with h.at(style=np.int64(2)): assert torch.equal(logits(), steered(style=2))
## resized embeddings
h = attach(model, steer)
model.resize_token_embeddings(400)
ok = refused(lambda: h.at(style=5).__enter__())
if not ok: assert not torch.equal(logits()[..., :384], plain)
## a new head
h = attach(model, steer)
model.set_output_embeddings(torch.nn.Linear(32, 384, bias=False))
fresh = logits()
ok = refused(lambda: h.at(style=5).__enter__())
if not ok: assert not torch.equal(logits(), fresh)
## folded while attached
h = attach(model, steer)
try:
    fold(model, steer, {'style': 2})
except LMSteerError:
    assert torch.equal(logits(), plain)
else:
    assert torch.allclose(logits(), steered(style=2), atol=1e-3)
    if not refused(lambda:
        h.at(style=2).__enter__()): assert torch.allclose(logits(), steered(style=4), atol=1e-3)
## folded in a block
h = attach(model, steer)
with h.at(style=2):
    try: fold(model, steer, {'style': 2})
    except LMSteerError: pass
    else: assert torch.allclose(logits(), steered(style=2), atol=1e-3)
## attached again
h = attach(model, steer)
assert attach(model, steer) is h
g = attach(model, 2 * steer)
assert refused(lambda: h.at(style=1).__enter__())
with g.at(style=1): assert torch.allclose(logits(), steered(style=2), atol=1e-4)
## an equal steer attached
h = attach(model, steer)
g = attach(model, made_steer())
with g.at(style=1): assert torch.equal(logits(), steered(style=1))
## taken off twice
h = attach(model, steer)
h.remove(); h.remove()
assert torch.equal(logits(), plain)
assert refused(lambda: h.at(style=1).__enter__())
## taken off in a block
h = attach(model, steer)
with h.at(style=2): h.remove()
assert torch.equal(logits(), plain)
## a pickled model
h = attach(model, steer)
other = pickle.loads(pickle.dumps(model))
assert torch.equal(logits(other), plain)
with attach(other, steer).at(style=2): assert torch.equal(logits(other), steered(style=2))
## a model saved whole
attach(model, steer)
torch.save(model, 'out.pt')
other = torch.load('out.pt', weights_only=False)
assert torch.equal(logits(other), plain)
## a pickled steer
assert pickle.loads(pickle.dumps(steer)) == steer
## a deep copy
h = attach(model, steer)
other = copy.deepcopy(model)
with h.at(style=2):
    assert torch.equal(logits(other), plain)
assert torch.equal(logits(other), plain)
with attach(other, steer).at(style=3):
    assert torch.equal(logits(other), steered(style=3)) and torch.equal(logits(), plain)
## a deep copy in a block
h = attach(model, steer)
with h.at(style=2):
    other = copy.deepcopy(model)
with attach(other, steer).at(style=3): assert torch.equal(logits(other), steered(style=3))
assert torch.equal(logits(), plain)
## a deep copy of a steer
assert copy.deepcopy(steer) == steer
## a LoRA of the head
from peft import LoraConfig, get_peft_model
h = attach(model, steer)
wrapped = get_peft_model(model, LoraConfig(target_modules=['lm_head'], r=2))
want = steered(style=5)
try:
    with h.at(style=5): assert torch.allclose(logits(wrapped), want, atol=1e-3)
except LMSteerError: pass
assert torch.allclose(logits(wrapped), plain, atol=1e-4)
## a saved model
attach(model, steer)
model.save_pretrained('out')
other = type(model).from_pretrained('out')
assert torch.equal(logits(other), plain)
## half precision
attach(model, steer)
model.half(); model.float()
with attach(model, steer).at(style=2): assert not torch.equal(logits(), plain)
## a steer with no effect
assert refused(lambda: Steer(steer.dimensions, steer.weights, epsilon=0.0) + steer)
## a sum with no effect
assert refused(lambda: steer + Steer(steer.dimensions, steer.weights, epsilon=0.0))
## half a steer
try: Steer(steer.dimensions, steer.weights, about={'a': object()}).save_pretrained('out')
except LMSteerError: pass
assert not Path('out').exists()
## over a whole steer
steer.save_pretrained('out')
old = Path('out/steer.safetensors').read_bytes()
try:
    Steer(steer.dimensions, {k: 2 * w for k, w in steer.weights.items()}, about={'a': object()}).save_pretrained('out')
except LMSteerError: pass
assert Path('out/steer.safetensors').read_bytes() == old and Steer.from_pretrained('out') == steer
## nothing to continue
assert continued([]) == []
## twice the same
assert continued(['The'], samples=2) == continued(['The'], samples=2)
"""
