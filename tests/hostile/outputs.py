"""Outputs: what a command may replace, and what it never does."""

from collections.abc import Iterator

from hostile.cases import EITHER, FINE, REFUSED, WORKING, Case, put, with_output

FOLDERS = ("model", "export", "figures", "lora", "train", "data", "import", "transfer")
# These write single files into a folder that may hold others.
BESIDE = {
    "train": "docs/steer docs/training",
    "data": "docs/train docs/dev docs/test docs/counts",
    "import": "docs/steer",
    "transfer": "docs/steer docs/training",
}
FILES = ("prompts", "external", "score", "directions", "effects", "agreement", "record", "page", "table")
DEVICE = """
try:
    os.mknod("device", 0o020666, os.makedev(1, {minor}))
except PermissionError:
    os.mkfifo("device")
"""
NEVER = (".", "..", "../..", "''", "./docs/..", "../work")
INPUTS = {
    "model": "origin ./origin",
    "export": "model steer ./model",
    "train": "model texts.csv",
    "data": "texts.csv",
    "import": "checkpoint.pt",
    "transfer": "steer model other",
    "lora": "model texts.parquet",
    "figures": "results results/study.json results/tables results/scores",
    "prompts": "prompts.jsonl ./prompts.jsonl docs/../prompts.jsonl",
    "external": "g.jsonl",
    "score": "g.jsonl",
    "effects": "results/study.json results",
    "directions": "steer/steer.safetensors steer model/config.json",
    "agreement": "rtp.jsonl results/study.json",
    "record": "results/study.json results",
    "page": "results/study.json results/tables/effect.csv results",
    "table": "results/study.json results/scores/tiny/toxicity.parquet",
}
GENERATION = ("''", "prompts.jsonl", "docs", ".", "steer/steer.safetensors", "steer", "model/model.safetensors")


def outputs() -> Iterator[Case]:
    """Yield the cases of this file."""
    yield from _streams()
    for name in (*FOLDERS, *FILES):
        for output in NEVER:
            yield Case("outputs", with_output(WORKING[name], output))
        for output in INPUTS.get(name, "").split():
            yield Case("outputs", with_output(WORKING[name], output))
        deep = "out/of/sight" + ("" if name in FOLDERS else ".x")
        yield Case("outputs", with_output(WORKING[name], deep), FINE)
    yield from _folders()
    yield from _files()
    for name, output in (("model", "origin/sub"), ("export", "model/new"), ("export", "steer/new")):
        yield Case("outputs", with_output(WORKING[name], output), EITHER, makes=output)
    for output in GENERATION:
        yield Case("outputs", with_output(WORKING["generate"], output))
    for command in (
        "agreement --file rtp.jsonl --study results/study.json --name rtp --pairs out.csv -o out.csv",
        "agreement --file rtp.jsonl --study results/study.json --name rtp --pairs rtp.jsonl -o out.csv",
        "record --study results/study.json --benchmarks out.json -o out.json",
        "record --study results/study.json --benchmarks results/study.json -o out.json",
        WORKING["directions"].replace("out2", "out"),
        WORKING["directions"].replace("out2.csv", "steer"),
        WORKING["evidence"].replace("out2", "out"),
        WORKING["evidence"].replace("out2.csv", "."),
        "store export --cache cache -o cache",
        "store export --cache cache -o cache/scores.sqlite",
        "store export --cache cache --file g.jsonl -o g.jsonl",
        "gather shared/shards --shards 2 --folder shared",
        "gather elsewhere/out.jsonl --shards 2 --folder shared",
        "gather shared/shards/1-of-2/out.jsonl --shards 2 --folder shared",
        "gather shared/none.jsonl --shards 2 --folder shared",
        "judge --held-out texts.parquet --exclude prompts.jsonl -o .",
        "judge --held-out texts.parquet --exclude prompts.jsonl -o docs",
        "score --kind bag-of-words --resource judge --file g.jsonl -o judge",
        "score --kind causal-lm --resource model --file g.jsonl -o model/model.safetensors",
        "score --kind profanity-check --file g.jsonl --scores scores.jsonl -o scores.jsonl",
        # A path that stands behind a key is read as well.
        "prompts --source file --path=prompts.jsonl --count=1 -o prompts.jsonl",
        "evaluate g.jsonl --metrics perplexity --judge perplexity=model -o model/config.json",
        "calibrate --model model --steer steer --dimension style --texts texts.csv -o texts.csv",
    ):
        yield Case("outputs", command)


def _streams() -> Iterator[Case]:
    """What a pipe holds can be read but once, and what a shell has opened is another program's."""
    piped = """py:
from hostile.worker import perform
read, write = os.pipe()
os.write(write, {content!r}.encode())
os.close(write)
os.dup2(read, 0)
sys.exit(perform({command!r}))
"""
    for command, content in (
        ("prompts --source file --path /dev/stdin -o out.jsonl", '{"prompt": {"text": "The"}}\n'),
        ("external --path /dev/stdin -o out.jsonl", '{"prompt": {"text": "The"}, "generations": [{"text": "b"}]}\n'),
    ):
        check = "assert json.loads(Path('out.jsonl').read_text())['prompt']['text'] == 'The'"
        yield Case("outputs", piped.format(command=command, content=content), FINE, check=check)
    gone = "py:from hostile.worker import perform\nos.mkdir('a'); os.chdir('a'); os.rmdir('../a')\n"
    gone += f"sys.exit(perform({WORKING['page']!r}))"
    yield Case("outputs", gone, says="working directory does not exist")
    said = with_output(WORKING["prompts"], "/dev/stdout")
    drawing = '<svg><rect width="100%" height="100%" fill="white"/></svg>'
    yield Case(
        "outputs",
        WORKING["figures"],
        says="holds mine.svg",
        before=f"Path('out').mkdir()\n{put('out/mine.svg', drawing)}",
        makes="-",
    )
    closed = f"py:from hostile.worker import perform\nkept, sys.stdout = sys.stdout, None\ncode = perform({said!r})\n"
    yield Case("outputs", closed + "sys.stdout = kept; sys.exit(code)", says="/dev/stdout is closed")
    shards = "for n in '12': Path(f'sh/shards/{n}-of-2').mkdir(parents=True)\n"
    beside = shards + put("sh/shards/notes.txt", "{}")
    yield Case(
        "outputs", "gather sh/../notes.txt --shards 2 --folder sh", says="is not in sh", before=beside, makes="-"
    )
    unlike = "for n in '12': pd.DataFrame({'file': [n], 'x': [1.0]}).to_parquet(f'sh/shards/{n}-of-2/out.parquet')"
    yield Case(
        "outputs", "gather sh/out.parquet --shards 2 --folder sh", says="has scores of 1", before=shards + unlike
    )
    secret = "os.symlink('/etc/passwd', 'results/generations/tiny/seed0/z.jsonl')"
    yield Case("outputs", WORKING["publish"], says="z.jsonl is a link", before=secret)
    for output in ("/dev/stderr", "/dev/fd/99", "/proc/none/x"):
        yield Case("outputs", with_output(WORKING["prompts"], output), says=output)
    yield Case("outputs", "prompts --source file --path /dev/zero -o out.jsonl", says="memory")


def _folders() -> Iterator[Case]:
    for name in FOLDERS:
        beside, command = name in BESIDE, WORKING[name]
        for output in ("docs", "./docs"):
            yield Case(
                "outputs", with_output(command, output), EITHER if beside else REFUSED, makes=BESIDE.get(name, "-")
            )
        yield Case("outputs", with_output(command, "empty"), FINE, makes="empty")
        again = f"command(*{command.split()!r})" if "'" not in command else ""
        yield Case("outputs", command, FINE, before=again)
        yield Case("outputs", with_output(command, "texts.jsonl"), EITHER, makes="texts.jsonl")
        yield Case("outputs", with_output(command, "pipe"), before="os.mkfifo('pipe')")
        yield Case("outputs", with_output(command, "device"), before=DEVICE.format(minor=3))
        yield Case("outputs", with_output(command, "dangling"), before="os.symlink('nowhere', 'dangling')")
        yield Case("outputs", with_output(command, "here"), before="os.symlink('.', 'here')")
        yield Case(
            "outputs",
            with_output(command, "linked"),
            EITHER if beside else REFUSED,
            before="os.symlink('docs', 'linked')",
            makes=BESIDE.get(name, "-"),
        )
        yield Case(
            "outputs",
            with_output(command, "linked"),
            EITHER,
            before="os.symlink('empty', 'linked')",
            check="assert Path('linked').is_symlink() and list(Path('empty').iterdir())",
            makes="empty",
        )
        # Whatever else lies in a folder that this command made stays.
        if again:
            mine = "Path('out/mine.txt').write_text('my notes')"
            kept = "assert Path('out/mine.txt').read_text() == 'my notes'"
            yield Case("outputs", command, EITHER, before=f"{again}\n{mine}", check=kept)
    exported = "command('export', '--steer', 'steer', '--model', 'model', '--at', 'style=5', '-o', 'out')\n"
    for mine in ("tokenizer-notes.txt", "my_config.json", "vocab.pdf", ".thesis.part"):
        before = f"{exported}Path('out/{mine}').write_text('mine')"
        yield Case("outputs", WORKING["export"], says=mine, before=before, makes="-")


def _files() -> Iterator[Case]:
    for name in FILES:
        command = WORKING[name]
        yield Case("outputs", with_output(command, "docs"))
        yield Case("outputs", with_output(command, "model"))
        yield Case("outputs", with_output(command, "empty"), EITHER, makes="out empty")
        yield Case("outputs", with_output(command, "old.txt"), FINE, before=put("old.txt", "old"), makes="out old.txt")
        yield Case("outputs", with_output(command, "pipe"), before="os.mkfifo('pipe')")
        yield Case("outputs", with_output(command, "device"), before=DEVICE.format(minor=7))
        yield Case("outputs", with_output(command, "dangling"), before="os.symlink('nowhere', 'dangling')")
        yield Case("outputs", with_output(command, "texts.csv/out.x"))
        yield Case(
            "outputs",
            with_output(command, "linked"),
            FINE,
            before=put("old.txt", "old") + "os.symlink('old.txt', 'linked')",
            check="assert Path('linked').is_symlink() and Path('old.txt').read_bytes() != b'old'",
            makes="out old.txt",
        )
    for name, taken in (("prompts", "prompts.jsonl"), ("external", "g.jsonl"), ("score", "g.jsonl")):
        yield Case("outputs", with_output(WORKING[name], "linked"), before=f"os.symlink('{taken}', 'linked')")
    # Where standard output is written, it is written once and stays what it was.
    for name in ("prompts", "external"):
        yield Case("outputs", with_output(WORKING[name], "said"), EITHER, before="os.symlink('/dev/stdout', 'said')")
