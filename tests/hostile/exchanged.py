"""What comes from elsewhere: archives of runs, files of other code, answers of other engines, data of other shapes."""

from collections.abc import Iterator

from hostile.cases import EITHER, FETCH, FINE, PLAIN, REFUSED, Case, put

ARCHIVE = """
import hashlib, zipfile
def archive(files, record=None):
    listed = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    with zipfile.ZipFile('run.zip', 'w') as made:
        for name, text in files.items(): made.writestr(name, text)
        made.writestr('archive.json', json.dumps(record or {'files': listed}))
archive("""
ARCHIVES = (
    "{'../evil.json': 'x'}",
    "{'/tmp/evil.json': 'x'}",
    "{'tables/../../evil.csv': 'x'}",
    "{'tables/evil.py': 'x'}",
    "{'tables/a.csv': 'x', 'tables/a.csv/b.csv': 'y'}",
    "{'tables/' + 'a' * 300 + '.csv': 'x'}",
    "{'models/tiny/model.safetensors': 'x'}",
    "{'study.json': 'x'}, {'files': {'study.json': 'another'}}",
    "{'study.json': 'x'}, {'files': 5}",
    "{'study.json': 'x'}, {'files': {}}",
)
# A scorer of one's own, whose judge yields something, or fails.
OWN = """
Path('own.py').write_text('''
from lm_steer.score.registry import Kind
from lm_steer.score.store import Scorer
class Own(Kind):
    yields = 'toxicity'
    def scorer(self, resource='', dtype='float32'):
        return Scorer('own', '1', ('toxicity',), lambda item: item.continuation, self.judge)
    def judge(self, items):
        for index, item in enumerate(items): yield ANSWER
''')
"""
YIELDED = {
    "index, 1.0": "scorer own yielded",
    "index, (1.0, 2.0)": "a tuple of 1 numbers",
    "index, None": "scorer own yielded",
    "index + 100, (1.0,)": "index of one of",
    "index, (1 / 0,)": r"own.py, line \d+: ZeroDivisionError.*code of yours",
    "5": "scorer own yielded 5",
}
STATE = "s = {'projector1': torch.randn(2, 32, 3), 'projector2': torch.randn(2, 32, 3)}\n"
STATES = {
    "s = {name: w.half() for name, w in s.items()}": FINE,
    "s['projector1'][0, 0, 0] = float('nan')": REFUSED,
    "s = {name: w.double() * 1e300 for name, w in s.items()}": REFUSED,
    "s = {name: w.numpy() for name, w in s.items()}": EITHER,
    "import argparse; s = [argparse.Namespace(epsilon='1'), s, 1]": REFUSED,
    "import argparse; s = [argparse.Namespace(epsilon=True), s, 1]": REFUSED,
    "s = torch.nn.Linear(2, 2)": REFUSED,
    "s = [None, s, 1, 2]": REFUSED,
}
# The plug-in of vLLM, without vLLM.
PLUGIN = """
import importlib, types
for name in ('vllm', 'vllm.v1', 'vllm.v1.sample', 'vllm.v1.sample.logits_processor'):
    sys.modules[name] = types.ModuleType(name)
sys.modules[name].LogitsProcessor, sys.modules[name].process_dict_updates = type('Processor', (), {}), None
sys.modules.pop('lm_steer.interop.vllm', None)
plugin = importlib.import_module('lm_steer.interop.vllm')
config = types.SimpleNamespace(model_config=types.SimpleNamespace(model='model', dtype=torch.float32))
"""
START = "os.environ['LM_STEER_VLLM'] = 'a=steer'\nplugin.SteerRequests(config, torch.device('cpu'))"
REQUEST = """
try: plugin.SteerRequests.validate_params(types.SimpleNamespace(extra_args={'steer': {asked}}))
except ValueError as error: raise lm_steer.LMSteerError(str(error))
"""
NAMED = ("a", "a=", "=steer", "a=none", "a=steer a=steer", "none.json", "share.json", "list.json", "typo.json")
SHARES = (
    "lines('share.json', {'steers': {'a': 'steer'}, 'share': 'x'}); lines('list.json', [1])\n"
    "lines('typo.json', {'steers': {'a': 'steer'}, 'shares': .5})"
)
ASKED = (
    "5",
    "'style'",
    "'tone=1'",
    "{'style': '5'}",
    "{'style': True}",
    "{'style': float('nan')}",
    "{'style': 10**400}",
    "{'a.style': 1, 'style': 1}",
    "{5: 1}",
)
# What stands for the Python of an engine, and answers nonsense.
ANSWERS = ("echo [] > $4", "echo '{bad' > $4", "echo '[[true]]' > $4", ": > $4", "exit 3", "kill -9 $$")
OPTIONS = ("[]", "{bad", "'{\"a\": NaN}'", '\'{"model": "other"}\'', '\'{"a": 1, "a": 2}\'')
ROWS = (
    '{"messages": [], "label": 1}',
    '{"messages": "hi", "label": 1}',
    '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": null}], "label": 1}',
    '{"messages": [{"role": "assistant", "content": "q"}, {"role": "user", "content": "a"}], "label": 1}',
    '{"prompt": 5, "completion": "a", "label": 1}',
    '{"prompt": "q", "completion": null, "label": 1}',
    '{"prompt": "q", "chosen": "a", "rejected": "a"}',
    '{"prompt": "q", "chosen": "a", "rejected": null}',
    '{"prompt": "q", "completion": "a", "label": true}',
)
SEVERAL = "text,joy,calm\na one,1,-1\nb two,-1,1\nc three,0.5,\nd four,,0.5\n"


def exchanged() -> Iterator[Case]:
    """Yield the cases of this file."""
    own = "score --kind own:Own --file g.jsonl -o out.parquet"
    for answer, says in YIELDED.items():
        yield Case("exchanged", own, says=says, before=OWN.replace("ANSWER", answer))
    yield Case("exchanged", own, says="own:Own", before="Path('own.py').write_text('raise SystemExit(0)')\n")
    for files in ARCHIVES:
        yield Case("exchanged", FETCH, says="run.zip", before=f"{ARCHIVE}{files})")
    for change, expect in STATES.items():
        before = f"{STATE}{change}\ntorch.save(s, 's.pt')"
        yield Case("exchanged", "import-original s.pt --dimensions a,b -o out", expect, "s.pt", before)
    yield Case("exchanged", f"py:{PLUGIN}{START}", FINE)
    for named in NAMED:
        start = START.replace("a=steer", named)
        yield Case("exchanged", f"py:# LM_STEER_VLLM={named}\n{PLUGIN}{start}", before=SHARES)
    for asked in ASKED:
        yield Case("exchanged", f"py:# asked for {asked}\n{PLUGIN}{START}{REQUEST.replace('{asked}', asked)}")
    for answer in ANSWERS:
        python = f"Path('py').write_text({f'#!/bin/sh{chr(10)}{answer}'!r}); os.chmod('py', 0o755)"
        yield Case("exchanged", f"{PLAIN} --vllm ./py", before=python)
    for given in OPTIONS:
        yield Case("exchanged", f"{PLAIN} --vllm /bin/true --vllm-options {given}", says="--vllm-options")
    yield from _data()


def _data() -> Iterator[Case]:
    ask = "data --source file --path t.jsonl -o out"
    for row in ROWS:
        yield Case("exchanged", ask, says="t.jsonl", before=put("t.jsonl", row + "\n"))
    several = "data --source file --path t.csv --labels joy calm -o out"
    for change, says in (("c three,0.5,", "c three,,"), ("a one,1", "a one,2"), ("a one,1", "a one,true")):
        yield Case("exchanged", several, says="t.csv", before=put("t.csv", SEVERAL.replace(change, says)))
    for name in ("id", "split", "corpus", "my joy"):
        before = put("t.csv", SEVERAL.replace("joy", name))
        yield Case("exchanged", several.replace("joy", f"'{name}'"), says=name, before=before)
    splits = put("t.csv", "text,label,split\na one,1,train\nb two,-1,validation\n")
    yield Case("exchanged", "data --source file --path t.csv -o out", says="split", before=splits)
    again = put("t.csv", "text,label,stars\na one,1,-1\nb two,-1,1\n")
    kept = "f = pd.concat(map(pd.read_parquet, Path('out').glob('*.parquet')))\nassert f['label'].tolist()"
    yield Case("exchanged", "data --source file --path t.csv --labels stars -o out", FINE, before=again, check=kept)
