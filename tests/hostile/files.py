"""Files of every format, damaged in every way, given to every command that reads them."""

from collections.abc import Iterator

from hostile.cases import EITHER, FINE, WORKING, Case, put, says

DEEP = "[" * 100_000
DIGITS = "9" * 5_000
ANY: dict[str, str] = {
    "missing": "Path({0!r}).unlink()",
    "a folder": "Path({0!r}).unlink(); Path({0!r}).mkdir()",
    "empty": "Path({0!r}).write_bytes(b'')",
    "zeros": "Path({0!r}).write_bytes(bytes(5000))",
    "noise": "Path({0!r}).write_bytes(np.random.default_rng(0).bytes(5000))",
    "UTF-16": "Path({0!r}).write_bytes(Path({0!r}).read_bytes().decode(errors='replace').encode('utf-16'))",
    "half": "Path({0!r}).write_bytes(Path({0!r}).read_bytes()[:len(Path({0!r}).read_bytes()) // 2 - 3])",
    "dangling": "Path({0!r}).unlink(); os.symlink('nowhere', {0!r})",
}
JSON = {
    "deep": DEEP,
    "digits": f'{{"a": {DIGITS}}}',
    "null": "null",
    "number": "5",
    "list": "[1]",
    "text": '"text"',
    "no keys": "{}",
    "Latin-1": b'{"text": "\xe9"}',
    "surrogate": '{"text": "\\ud800"}',
    "not JSON": "{'a': 1}",
    "two documents": "{} {}",
    "infinite": '{"text": Infinity}',
}
PROMPT = '{{"prompt": {{"text": {0}}}}}'
GENERATED = '{{"prompt": {{"text": "The"}}, "generations": {0}}}'
SCORE = '{{"scorer": "s", "version": "1", "text": "a", "attribute": "toxicity", "scored_at": {1}, "value": {0}}}'
ROWS: dict[str, dict[str, str]] = {
    "prompts": {
        value: PROMPT.format(value) for value in ("null", "5", '""', '" "', "[]", "{}", '"\\ud800"', '"\\u0000"')
    }
    | {
        "prompt": '{"prompt": "text"}',
        "NaN": '{"prompt": {"text": "a", "x": NaN}}',
        "huge": '{"prompt": {"text": "a", "x": 1e999}}',
    },
    "generations": {
        value: GENERATED.format(value)
        for value in (
            "null",
            "5",
            "{}",
            "[]",
            "[null]",
            "[5]",
            '["text"]',
            '[{"text": null}]',
            '[{"text": 5}]',
            '[{"text": true}]',
            '[{"text": ["a"]}]',
            '[{"text": "\\udfff"}]',
            "[{}]",
        )
    }
    | {"uneven": GENERATED.format('[{"text": "a"}]') + "\n" + GENERATED.format('[{"text": "a"}, {"text": "b"}]')},
    "scores": {
        value: SCORE.format(value, '"2026-01-01 00:00:00"')
        for value in ("null", "NaN", "Infinity", "true", '"1"', "1e999", "[]")
    }
    | {
        f"at {time}": SCORE.format(0.5, time)
        for time in ('"yesterday"', "5", "null", '""', '"0001-01-01T00:00:00+23:59"')
    },
    "rated": {
        value: f'{{"prompt": {{"text": "a"}}, "continuation": {{"text": "b", "toxicity": {value}}}}}'
        for value in ("NaN", "2", "-0.1", "true", '"0.5"')
    },
    "marked": {
        value: f'{{"text": "The movie", "spans": {value}}}'
        for value in ("5", "[5]", "[[0, 99]]", "[[3, 1]]", "[[true, 5]]", "[[0.0, 3.0]]", "[null]", '"ab"')
    },
}
LINES = (
    (WORKING["prompts"], "prompts.jsonl", "prompts"),
    (WORKING["plain"], "prompts.jsonl", "prompts"),
    (WORKING["external"], "g.jsonl", "generations"),
    (WORKING["score"], "g.jsonl", "generations"),
    (WORKING["perplexity"], "g.jsonl", ""),
    (WORKING["agreement"], "rtp.jsonl", "rated"),
    (WORKING["store import"], "scores.jsonl", "scores"),
    ("data --source file --path texts.jsonl -o out", "texts.jsonl", ""),
    (WORKING["evidence"].replace("--text 'The movie was a joy.'", "--path prompts.jsonl"), "prompts.jsonl", "marked"),
)
DOCUMENTS = (
    (WORKING["table"], "results/study.json"),
    (WORKING["agreement"], "results/study.json"),
    (WORKING["effects"], "results/study.json"),
    (WORKING["record"], "results/study.json"),
    (WORKING["page"], "results/study.json"),
    (WORKING["figures"], "results/study.json"),
    (WORKING["compare"], "results/study.json"),
    (WORKING["compare"], "results/run.json"),
    (WORKING["page"], "results/run.json"),
    (WORKING["page"], "results/data/mine/counts.json"),
    (WORKING["page"], "results/steers/tiny/style/seed0/steer_config.json"),
    (WORKING["sentiment"], "judge/judge.json"),
    (WORKING["generate"], "steer/steer_config.json"),
    (WORKING["export"], "steer/steer_config.json"),
    (WORKING["plain"], "model/config.json"),
    (WORKING["plain"], "model/tokenizer.json"),
    (WORKING["perplexity"], "model/lm_steer_model.json"),
    (WORKING["model"], "origin/config.json"),
)
BINARIES = (
    (WORKING["lora"], "texts.parquet"),
    ("train --model model --texts texts.parquet --rank 2 --steps 2 --batch-size 2 -o out", "texts.parquet"),
    ("data --source file --path texts.parquet -o out", "texts.parquet"),
    (WORKING["table"], "results/scores/tiny/toxicity.parquet"),
    (WORKING["generate"], "steer/steer.safetensors"),
    (WORKING["plain"], "model/model.safetensors"),
    (WORKING["model"], "origin/model.safetensors"),
    (WORKING["sentiment"], "judge/judge.safetensors"),
    (WORKING["sentiment"], "judge/vocabulary.txt"),
    (WORKING["import"], "checkpoint.pt"),
    (WORKING["compare"], "results/tables/effect.csv"),
    (WORKING["page"], "results/tables/effect.csv"),
    (WORKING["data"], "texts.csv"),
    (WORKING["store list"], "cache/scores.sqlite"),
    (WORKING["store export"], "cache/scores.sqlite"),
)
# What each may lack or hold without harm: a page of a run that is not finished, a judge of another vocabulary.
HARMLESS = {
    ("results/run.json", "missing"),
    ("results/run.json", "dangling"),
    ("results/data/mine/counts.json", "missing"),
    ("results/data/mine/counts.json", "dangling"),
    ("results/steers/tiny/style/seed0/steer_config.json", "missing"),
    ("results/steers/tiny/style/seed0/steer_config.json", "dangling"),
    ("results/tables/effect.csv", "missing"),
    ("results/tables/effect.csv", "dangling"),
    ("cache/scores.sqlite", "missing"),
    ("cache/scores.sqlite", "dangling"),
    ("cache/scores.sqlite", "empty"),
    ("scores.jsonl", "empty"),
    ("results/run.json", "no keys"),
    ("model/tokenizer.json", "missing"),
}


def files() -> Iterator[Case]:
    """Yield the cases of this file."""
    part = "p = Path('shared/shards/1-of-2/out.jsonl'); p.write_bytes(p.read_bytes()[:{}])"
    for end, expect in ((-1, FINE), (-20, "refused")):
        check = "assert all(json.loads(line) for line in open('shared/out.jsonl'))"
        yield Case("files", WORKING["gather"], expect, "1-of-2", part.format(end), check, makes="shared/out.jsonl")
    for value in ("'high'", "9e999"):
        edit = f"d.execute('UPDATE scores SET value = ' + {value!r}); d.commit()"
        edit = f"import sqlite3\nd = sqlite3.connect('cache/scores.sqlite'); {edit}"
        yield Case("files", WORKING["store export"], says="scores.sqlite", before=edit)
    bools = "from safetensors.torch import load_file, save_file\np = 'steer/steer.safetensors'; t = load_file(p)\n"
    bools += "save_file({name: tensor > 0 for name, tensor in t.items()}, p)"
    yield Case("files", WORKING["generate"], says="steer", before=bools)
    for command, path, kind in LINES:
        for name, damage in ANY.items():
            yield _damaged(command, path, damage.format(path), name)
        for name, content in JSON.items():
            if (path, name) not in HARMLESS:
                yield Case("files", command, _of(path, name), path, put(path, content))
        for content in ROWS.get(kind, {}).values():
            harmless = "u0000" in content or '"x"' in content
            yield Case("files", command, EITHER if harmless else "refused", path, put(path, content + "\n"))
        bom = f"Path({path!r}).write_bytes(b'\\xef\\xbb\\xbf' + Path({path!r}).read_bytes())"
        yield Case("files", command, "refused" if kind == "marked" else FINE, path, bom)
    for command, path in DOCUMENTS:
        for name, damage in ANY.items():
            yield _damaged(command, path, damage.format(path), name)
        for name, content in JSON.items():
            yield Case("files", command, _of(path, name), says(path), put(path, content))
    for command, path in BINARIES:
        for name, damage in ANY.items():
            yield _damaged(command, path, damage.format(path), name)


def _of(path: str, name: str) -> str:
    return EITHER if (path, name) in HARMLESS or name == "infinite" else "refused"


def _damaged(command: str, path: str, before: str, name: str) -> Case:
    return Case("files", command, EITHER if (path, name) in HARMLESS else "refused", says(path), before)
