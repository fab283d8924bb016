"""Numbers that are none, and damaged caches: what is wrong never becomes a result."""

from collections.abc import Iterator

from hostile.cases import EITHER, FINE, WORKING, Case

WEIGHTS = """
from safetensors.torch import load_file, save_file
p = {path!r}; w = load_file(p)
name = {name}
w[name] = {change}
save_file(w, p, metadata={{'format': 'pt'}})
"""
FIRST = "next(iter(w))"
HEAD = "next(key for key in w if 'embed' in key or 'lm_head' in key)"
NAN, INF = "w[name] * float('nan')", "w[name] * float('inf')"
USES = ("plain", "generate", "perplexity", "train", "export", "evidence", "directions", "lora")
STALE = "{again}\nfor p in Path('results/.cache').rglob({pattern!r}):\n    b = p.read_bytes(); {damage}"
DAMAGES = {
    "middle": "p.write_bytes(b[:len(b) // 2] + b'\\xff' * 600 + b[len(b) // 2 + 600:])",
    "cut": "p.write_bytes(b[:len(b) // 2])",
    "empty": "p.write_bytes(b'')",
    "noise": "p.write_bytes(os.urandom(len(b)))",
}


def numbers() -> Iterator[Case]:
    """Yield the cases of this file."""
    for use in USES:
        for change in (NAN, INF):
            # Weights that are not those on record, and a user's own folder where nothing is on record.
            damage = WEIGHTS.format(path="origin/model.safetensors", name=HEAD, change=change)
            yield Case(
                "numbers",
                WORKING[use]
                .replace("--model model", "--model origin")
                .replace("--resource model", "--resource origin"),
                before=damage,
            )
        moved = WEIGHTS.format(path="model/model.safetensors", name=HEAD, change="w[name] * 1.5")
        yield Case("numbers", WORKING[use], says="model", before=moved)
    for change in (NAN, INF, "w[name] * 0 + 1e38", "w[name].new_full(w[name].shape, float('-inf'))"):
        damage = WEIGHTS.format(path="steer/steer.safetensors", name=FIRST, change=change)
        for use in ("generate", "export", "evidence", "directions", "cost"):
            large = "1e38" in change and use in ("directions", "cost", "evidence")
            finite = "assert 'nan' not in Path('out.csv').read_text()" if large else ""
            yield Case("numbers", WORKING[use], EITHER if large else "refused", before=damage, check=finite)
    for value in ("1e30", "-1e30", "1e38", "1e38 corpus=1e38"):
        for use in ("generate", "export", "evidence"):
            yield Case("numbers", WORKING[use].replace("style=5", f"'style={value}'"), before="")
    for change in (
        "s['projector1'][0, 0, 0] = float('nan')",
        "s['projector2'] *= float('inf')",
        "s['projector1'] = s['projector1'][0]",
        "s['projector1'] = s['projector1'].long()",
        "s['projector1'] = 'text'",
        "s['projector1'] = None",
        "s.clear()",
        "s['projector1'] = torch.zeros(2, 16, 3)",
        "s['projector1'] = torch.zeros(0, 32, 3)",
        "c[0] = None",
        "c[0] = {}",
        "c[0].epsilon = float('nan')",
        "c[0].epsilon = 'small'",
        "c[1] = []",
        "c[2] = None",
        "c[2] = 'ten'",
        "c = c[:2]",
        "c = s",
        "c = 5",
        "c = []",
    ):
        before = (
            "import argparse\nwith torch.serialization.safe_globals([argparse.Namespace]):\n"
            f"    c = torch.load('checkpoint.pt', weights_only=True)\n"
            f"s = c[1]\n{change}\ntorch.save(c, 'checkpoint.pt')"
        )
        # The original's transfer script writes None for its arguments, EasyEdit the weights alone; whole numbers are
        # weights as well.
        loose = change.startswith(("c[0] = None", "c[0] = {}", "c[2]", "c = s")) or "long()" in change
        yield Case("numbers", WORKING["import"], EITHER if loose else "refused", before=before)
    for options in ("--learning-rate 1e30", "--epsilon 1e30", "--label-scale 1e30"):
        finite = "w = lm_steer.Steer.from_pretrained('out').weights\nassert all(t.isfinite().all() for t in w.values())"
        yield Case("numbers", f"{WORKING['train']} {options}", EITHER, check=finite)
    for name, expect in (("train", EITHER), ("lora", "refused")):
        command = WORKING[name].replace("--steps 2", "--steps 5")
        yield Case("numbers", f"{command} --learning-rate 1e30", expect)
    yield from _caches()


def _caches() -> Iterator[Case]:
    for use, pattern in (
        ("train", "hidden.sqlite"),
        ("train", "checkpoints/*"),
        ("evidence", "texts.sqlite"),
        ("directions", "texts.sqlite"),
    ):
        for damage in DAMAGES.values():
            again = f"import shlex; elsewhere(*shlex.split({WORKING[use]!r})); shutil.rmtree('out', ignore_errors=True)"
            before = STALE.format(again=again, pattern=pattern, damage=damage)
            yield Case("caches", WORKING[use], FINE, before=before)
    for damage in DAMAGES.values():
        before = f"p = Path('cache/scores.sqlite'); b = p.read_bytes(); {damage}"
        for command in (WORKING["store list"], WORKING["store export"], WORKING["score"] + " --cache cache"):
            # Scores may have been paid for: the file stays, and the message says how to save what is left.
            whole = "b''" in damage or "xff" in damage
            expect = EITHER if whole or "score " in command else "refused"
            yield Case("caches", command, expect, "scores.sqlite|the store", before)
    held = "Path('out.jsonl').mkdir(); Path('out.jsonl/kept').write_text('x')"
    yield Case("caches", WORKING["prompts"], before=held, check="")
    before = (
        "import socket; Path(f'.out.jsonl.new.{socket.gethostname()}-999999.part').write_text('a killed run left it')"
    )
    check = "assert not list(Path('.').glob('.*.part'))"
    yield Case("caches", WORKING["prompts"], FINE, before=before, check=check, makes="out .out.jsonl")
    for place in ("results/.cache", "results"):
        taken = f"Path({place!r}).parent.mkdir(exist_ok=True); Path({place!r}).write_text('a file')"
        before = f"shutil.rmtree('results'); {taken}"
        yield Case("caches", WORKING["train"], says="results", before=before)
    for text, times in (("a", 3_000_000), ("The movie. ", 300_000)):
        long = f"{text!r} * {times}"
        labelled = f"pd.DataFrame({{'text': [{long}, 'a joy', 'a bore'], 'label': [1, 1, -1]}})"
        yield Case("caches", WORKING["train"], FINE, before=f"{labelled}.to_csv('texts.csv', index=False)")
        generated = f"lines('g.jsonl', {{'prompt': {{'text': 'The'}}, 'generations': [{{'text': {long}}}]}})"
        yield Case("caches", WORKING["perplexity"], EITHER, before=generated)
