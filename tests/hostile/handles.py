"""Python's side: steers and handles used against their grain."""

from collections.abc import Iterator

from hostile.cases import FINE, REFUSED, Case
from hostile.usages import RIGHT

START = """
import copy, pickle, threading
from lm_steer.core.attach import attach
from lm_steer.util.errors import LMSteerError
from lm_steer.core.fold import fold
from lm_steer.generation.continuations import Sampling, continuations
from lm_steer import generate, train
from lm_steer.model.load import load_model
from lm_steer.model.obtain import obtain
from lm_steer.core.steer import Steer, compose
from lm_steer.training.learn import LabelledTexts, Recipe
from lm_steer.analyse.directions import directions
from lm_steer.analyse.evidence import evidence
def recipe(**keys):
    return Recipe(**{'dimensions': ('style', 'corpus'), **keys})
def continued(prompts, **keys):
    return continuations(load(), prompts, Sampling(**{'samples': 1, 'new_tokens': 2, **keys}), 'texts')
steer = made_steer()
model = tiny.make_model(world.KIND)
ids = torch.arange(2, 9)[None]
def logits(m=model):
    with torch.no_grad():
        return m(ids, use_cache=False).logits
plain = logits()
def steered(**values):
    m = tiny.make_model(world.KIND)
    with attach(m, steer).at(values):
        return logits(m)
def refused(do):
    try:
        do()
    except LMSteerError:
        return True
    return False
"""
# What must be refused in one sentence.
BAD = """
steer.attach(model).at(5).__enter__()
steer.attach(model).at('style').__enter__()
steer.attach(model).at([('style', 5)]).__enter__()
steer.attach(model).at({5: 1}).__enter__()
steer.attach(model).at(style='5').__enter__()
steer.attach(model).at(style='').__enter__()
steer.attach(model).at(style=None).__enter__()
steer.attach(model).at(style={'a': 1}).__enter__()
steer.attach(model).at(style=float('nan')).__enter__()
steer.attach(model).at(style=float('inf')).__enter__()
steer.attach(model).at(style=10**400).__enter__()
steer.attach(model).at(style=5j).__enter__()
steer.attach(model).at(style=b'5').__enter__()
steer.attach(model).at(tone=5).__enter__()
steer.attach(model).at(style=1)(lambda: (yield))()
steer.attach(model).at(style=[]).__enter__()
steer.attach(model).at(style=[1, float('nan')]).__enter__()
steer.attach(model).at(style=['a']).__enter__()
steer.attach(model).at(style=[1, 2], corpus=[1, 2, 3]).__enter__()
steer.attach(model).at(style=[[1, 2], [3, 4]]).__enter__()
steer.attach(model).at(style=torch.zeros(2, 2)).__enter__()
steer.attach(None)
steer.attach('model')
steer.attach(torch.nn.Linear(2, 2))
attach(model, None)
attach(steer, model)
steer * float('nan')
steer * float('inf')
float('-inf') * steer
steer / 0
steer / float('nan')
steer + made_steer(kind='add')
steer + Steer(('style',), {'A': torch.zeros(1, 16, 2), 'B': torch.zeros(1, 16, 2)})
Steer(('style',), {'A': torch.full((1, 4, 2), float('nan')), 'B': torch.zeros(1, 4, 2)})
Steer(('style',), {'A': torch.full((1, 4, 2), float('inf')), 'B': torch.zeros(1, 4, 2)})
Steer(('style',), {'A': torch.zeros(1, 4, 2)})
Steer(('style',), {'A': torch.zeros(1, 4, 2), 'B': torch.zeros(1, 4, 3)})
Steer(('style',), {})
Steer(('style',), None)
Steer(('style',), [torch.zeros(1, 4, 2)] * 2)
Steer(('style',), {'A': torch.zeros(1, 4, 2).to('meta'), 'B': torch.zeros(1, 4, 2)})
Steer(('style',), {'A': torch.zeros(1, 4, 2, dtype=torch.complex64), 'B': torch.zeros(1, 4, 2)})
Steer(('style',), {'A': torch.zeros(1, 4, 2).to_sparse(), 'B': torch.zeros(1, 4, 2)})
Steer(('a', 'a'), steer.weights)
Steer((5, 6), steer.weights)
Steer(('a', ''), steer.weights)
Steer(('a', 'b'), steer.weights, 'subtract')
Steer(('a', 'b'), steer.weights, 'multiply', float('nan'))
Steer(('a', 'b'), steer.weights, 'multiply', '0.1')
Steer(('a', 'b'), steer.weights, 'multiply', None)
Steer.from_pretrained('texts.csv')
Steer.from_pretrained('steer/steer.safetensors')
Steer.from_pretrained('')
Steer.from_pretrained('docs')
Steer.from_pretrained('none')
Steer.from_pretrained(Path('none'))
Steer.from_pretrained(None)
Steer.from_pretrained('model')
Steer(steer.dimensions, steer.weights, about={'a': object()}).save_pretrained('out')
Steer(steer.dimensions, steer.weights, about={'a': float('nan')}).save_pretrained('out')
Steer(steer.dimensions, steer.weights, about={'a': {1, 2}}).save_pretrained('out')
Steer(steer.dimensions, steer.weights, about={'a': '\\ud800'}).save_pretrained('out')
Steer(steer.dimensions, steer.weights, about={(1, 2): 3}).save_pretrained('out')
steer.save_pretrained('texts.csv')
steer.save_pretrained('.')
steer.save_pretrained('')
steer.save_pretrained(None)
steer.save_pretrained('a\\0b')
steer.renamed(None)
steer.matrix({'tone': 1})
steer.vector({'style': 'five'})
steer.vector({'style': float('inf')})
made_steer(kind='add').matrix({'style': 1})
Steer.initial(('a',), 4, kind='subtract')
Steer.initial(('a',), 0)
Steer.initial(('a',), 4, rank=0)
Steer.initial((), 4)
compose({})
compose([steer])
compose({'a': None})
Steer.initial('style', 4)
Steer.initial(('a',), 4.5)
Steer.initial(('a',), 4, rank=None)
load_model('none')
load_model('docs')
load_model('')
load_model('model', 'float8')
load_model('model', device='tpu')
load_model('model', device='cuda:99')
load_model('model', device='meta')
load_model(None)
load_model('classifier')
obtain('zip', 'origin', 'out')
obtain('hub', 'not an id', 'out')
LabelledTexts(['a', 'b'], [1])
LabelledTexts(['a', 'b'], ['good', 'bad'])
LabelledTexts(['a', None], [1, -1])
LabelledTexts('ab', [1, -1])
evidence(steer, load(), '\\ud800', {'style': 5})
directions(Steer(('a',), {name: torch.full((1, 32, 2), 1e38) for name in 'AB'}), load(), 'a')
recipe(rank=0)
recipe(steps=-1)
recipe(learning_rate=float('nan'))
recipe(epsilon=float('inf'))
recipe(dimensions=())
recipe(kind='subtract')
recipe(rank='4')
recipe(rank=None)
recipe(loss_on_padding='no')
recipe(learning_rate=1e38)
recipe(dimensions=None)
recipe(batch_size=1.5)
Sampling(samples=0)
Sampling(samples=1.7)
Sampling(top_p=2)
Sampling(top_p=float('nan'))
Sampling(top_k=-1)
Sampling(new_tokens=0)
Sampling(seed=-1)
continued(['The'], seed='a')
continued(['The', ''])
continued(['The', None])
continued(['The', 5])
continued('The')
continued(None)
continued(['\\ud800'])
continued(['The movie ' * 99])
fold(model, steer, {'tone': 5})
fold(model, steer, {'style': float('nan')})
fold(model, steer, {'style': 1e38})
fold(model, None, {'style': 1})
fold(None, steer, {'style': 1})
generate('model', load().tokenizer, ['The'], samples=1, new_tokens=2)
generate(model, 'tokenizer', ['The'], samples=1, new_tokens=2)
generate(model, load().tokenizer, ['The'], sample=1)
generate(model, load().tokenizer, ['The'], steer, {'tone': 1})
generate(model, load().tokenizer, ['The'], 'steer', {'style': 1})
generate(model, load().tokenizer, ['The'], steer, 5)
generate(model, load().tokenizer, 'The')
train('model', load().tokenizer, ['a b', 'c d'], [1, -1], steps=1)
train(model, None, ['a b', 'c d'], [1, -1], steps=1)
train(model, load().tokenizer, ['a b', 'c d'], 5, steps=1)
train(model, load().tokenizer, ['a b', 'c d'], ['x', 'y'], steps=1)
train(model, load().tokenizer, ['a b', 'A b!'], [1, -1], steps=1)
train(model, load().tokenizer, 'a b', [1], steps=1)
train(model, load().tokenizer, ['a b', 'c d'], [1, -1], step=1)
train(model, load().tokenizer, ['a b', 'c d'], [1, 2], steps=1)
evidence(steer, 'model', 'a b', {'style': 5})
directions('steer', load(), 'style')
steer.push_to_hub(5)
lm_steer.evaluate(None, 'toxicity')
lm_steer.evaluate('g.jsonl', 5)
lm_steer.evaluate({'a': 5}, 'dist-n')
lm_steer.evaluate({'a': (['x'], 'y')}, 'dist-n')
lm_steer.evaluate({'a': (['x'], [[None]])}, 'dist-n')
lm_steer.evaluate('g.jsonl', 'toxicity', judges=5)
lm_steer.evaluate('g.jsonl', 'toxicity', judges={'toxicity': None})
lm_steer.evaluate('g.jsonl', 'toxicity', cache=None)
lm_steer.calibrate(steer, load(), 'a text', 'style')
lm_steer.calibrate(steer, load(), ['a b c'], ['style'])
lm_steer.calibrate(steer, load(), ['a b c'], 'style', held='corpus=1')
lm_steer.calibrate(steer, load(), ['a b c'], 'style', values=5)
lm_steer.calibrate(steer, load(), ['a b c'], 'style', values=np.array([np.nan]))
lm_steer.calibrate(steer, load(), ['a b c'], 'style', max_length=0)
lm_steer.logits_map(steer, model, share='x')
lm_steer.directions(steer, load(), 'style', texts='abc')
lm_steer.directions(steer, load(), 'style', count=0)
lm_steer.transfer(steer, load(), load('other'), anchors='x')
generate(model, tiny.make_chat_tokenizer(), [[{'role': 'user'}]], chat=True)
generate(model, tiny.make_chat_tokenizer(), ['x'], system='hello')
train(model, load().tokenizer, [{'text': 'a b', 'label': 1}, 'c d'], steps=1)
LabelledTexts({'a': 1}, [1])
LabelledTexts(['a'], None)
steer.attach(model).at({'style': 1}, style=2)
compose({'a': Steer(('b.c', 'd'), steer.weights), 'a.b': Steer(('c', 'd'), steer.weights)})
"""


def handles() -> Iterator[Case]:
    """Yield the cases of this file."""
    for line in BAD.strip().splitlines():
        yield Case("handles", f"py:{START}\n{line}", REFUSED)
    for usage in RIGHT.split("## ")[1:]:
        name, _, code = usage.partition("\n")
        yield Case("handles", f"py:# {name}\n{START}\n{code}", FINE)
