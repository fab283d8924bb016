"""Files that are whole and yet wrong: labels that are none, tables, steers and specs edited by hand."""

from collections.abc import Iterator

from hostile.cases import EITHER, FINE, WORKING, Case, put, says

DIGITS = "9" * 5_000
CSV: dict[str, tuple[str | bytes, str]] = {
    "NA is text": ("text,label\nNA,1\nnull,-1\nNone,1\nnan,-1\n", FINE),
    "text is empty": ("text,label\n,1\nb,-1\n", "refused"),
    "headers twice": ("text,label,text\na,1,b\nc,-1,d\n", "refused"),
    "labels twice": ("text,label,label\na,1,-1\nc,-1,1\n", "refused"),
    "header again": ("text,label\na,1\ntext,label\n", "refused"),
    "true and false": ("text,label\na,true\nb,false\n", "refused"),
    "True and False": ("text,label\na,True\nb,False\n", "refused"),
    "out of range": ("text,label\na,5\nb,-1\n", "refused"),
    "infinite": ("text,label\na,inf\nb,-1\n", "refused"),
    "NaN": ("text,label\na,nan\nb,-1\n", "refused"),
    "no label": ("text,label\na,\nb,-1\n", "refused"),
    "words": ("text,label\na,good\nb,bad\n", "refused"),
    "ragged": ("text,label\na,1,2,3\nb,-1\n", "refused"),
    "short row": ("text,label\na\nb,-1\n", "refused"),
    "open quote": ('text,label\n"a,1\nb,-1\n', "refused"),
    "only a header": ("text,label\n", "refused"),
    "no header": ("a,1\nb,-1\n", "refused"),
    "semicolons": ("text;label\na;1\nb;-1\n", "refused"),
    "Latin-1": ("text,label\ncaf\u00e9,1\nb,-1\n".encode("latin-1"), "refused"),
    "BOM": ("\ufefftext,label\nA joy,1\nA bore,-1\nfine then,1\n", FINE),
    "NUL": ("text,label\na\x00b,1\nb,-1\n", EITHER),
    "contradicting": ("text,label\na joy,1\na joy,-1\nso it is,1\nnot so,-1\n", "refused"),
    "one text": ("text,label\na,1\n", EITHER),
    "commas of a locale": ('text,label\na,"0,5"\nb,-1\n', "refused"),
}
ROWS_OF_TEXTS = {
    "boolean": '{"text": "a", "label": true}\n{"text": "b", "label": false}\n',
    "number as text": '{"text": 5, "label": 1}\n{"text": "b", "label": -1}\n',
    "null": '{"text": null, "label": 1}\n{"text": "b", "label": -1}\n',
    "label of text": '{"text": "a", "label": "1"}\n{"text": "b", "label": "minus"}\n',
    "label null": '{"text": "a", "label": null}\n{"text": "b", "label": -1}\n',
    "label list": '{"text": "a", "label": [1]}\n{"text": "b", "label": -1}\n',
    "label huge": f'{{"text": "a", "label": {DIGITS}}}\n',
    "no label": '{"text": "a"}\n{"text": "b", "label": -1}\n',
    "contradicting": '{"text": "a", "label": 1}\n{"text": "a", "label": -1}\n{"text": "b", "label": 1}\n',
}
FRAMES = {
    "boolean labels": "{'text': ['a', 'b'], 'label': [True, False]}",
    "texts of bytes": "{'text': [b'a', b'b'], 'label': [1, -1]}",
    "texts of numbers": "{'text': [1, 2], 'label': [1, -1]}",
    "NaN labels": "{'text': ['a', 'b'], 'label': [1, np.nan]}",
    "infinite labels": "{'text': ['a', 'b'], 'label': [1, np.inf]}",
    "no label": "{'text': ['a', 'b']}",
    "lists": "{'text': [['a'], ['b']], 'label': [1, -1]}",
    "dates": "{'text': ['a', 'b'], 'label': pd.to_datetime(['2020-01-01', '2020-01-02'])}",
    "nothing": "{'text': [], 'label': []}",
    "contradicting": "{'text': ['a', 'a', 'b'], 'label': [1, -1, 1]}",
}
TABLES = {
    "words for numbers": "f['value'] = 'lots'",
    "no values": "f = f.drop(columns='value')",
    "infinite": "f.loc[0, 'value'] = np.inf",
    "edited": "f.loc[0, 'value'] = f.loc[0, 'value'] + 1",
    "unknown setting": "f['setting'] = 'none'",
    "unknown metric": "f['metric'] = 'charm'",
    "a row twice": "f = pd.concat([f, f])",
    "unknown model": "f['model'] = 'none'",
    "bounds crossed": "f['low'], f['high'] = 5.0, -5.0",
    "no rows": "f = f[:0]",
}
SCORES = {
    "NaN": "f.loc[0, 'toxicity'] = np.nan",
    "infinite": "f.loc[0, 'toxicity'] = np.inf",
    "out of range": "f['toxicity'] = 7.0",
    "text": "f['toxicity'] = 'high'",
    "no column": "f = f.drop(columns='toxicity')",
    "no files": "f = f.drop(columns='file')",
    "no rows": "f = f[:0]",
    "a row twice": "f = pd.concat([f, f])",
    "a row less": "f = f.drop(index=f.index[f['file'].str.contains('styled')][-1])",
    "a sample less": "f = f[f['sample'] == 0]",
    "another file": "f['file'] = 'none.jsonl'",
    "negative sample": "f['sample'] = -1",
    "null version": "f['version'] = None",
}
STEERS = {
    "null": "c['dimensions'] = None",
    "null name": "c['dimensions'] = ['style', None]",
    "a name twice": "c['dimensions'] = ['style', 'style']",
    "text": "c['dimensions'] = 'style'",
    "mapping": "c['dimensions'] = {'style': 1, 'corpus': 2}",
    "kind null": "c['kind'] = None",
    "kind list": "c['kind'] = ['multiply']",
    "kind unknown": "c['kind'] = 'subtract'",
    "epsilon null": "c['epsilon'] = None",
    "epsilon text": "c['epsilon'] = '0.1'",
    "epsilon list": "c['epsilon'] = [1]",
    "epsilon NaN": "c['epsilon'] = float('nan')",
    "epsilon true": "c['epsilon'] = True",
    "about list": "c['about'] = [1]",
    "about null": "c['about'] = None",
    "about text": "c['about'] = 'mine'",
    "format text": "c['format'] = '1'",
    "format future": "c['format'] = 99",
    "model null": "c['about'] = {'model_type': 5}",
}
CONFIGS = {
    "no type": "c.pop('model_type')",
    "unknown type": "c['model_type'] = 'perpetuum'",
    "type null": "c['model_type'] = None",
    "hidden size": "c['hidden_size'] = 48",
    "text for a number": "c['hidden_size'] = 'wide'",
    "vocabulary": "c['vocab_size'] = 7",
    "no layers": "c['num_hidden_layers'] = 0",
    "more layers": "c['num_hidden_layers'] = 5",
    "layers without end": "c['num_hidden_layers'] = 10**7",
    "vocabulary without end": "c['vocab_size'] = 10**7",
    "heads without end": "c['num_attention_heads'] = 10**7",
    "heads": "c['num_attention_heads'] = 0",
    "negative": "c['hidden_size'] = -32",
    "encoder": "c['model_type'] = 'bert'; c['architectures'] = ['BertModel']",
}
# A study that was edited by hand, and the commands that read it.
STUDIES = {
    "rows null": "c['tables']['effect']['rows'] = None",
    "rows list": "c['tables']['effect']['rows'] = []",
    "unknown setting": "c['tables']['effect']['rows'] = {'A': ['none']}",
    "unknown scorer": "c['tables']['effect']['scorers'] = ['none']",
    "models null": "c['models'] = None",
    "unknown model": "c['steered'] = ['none']",
    "seeds text": "c['seeds'] = 'all'",
    "seeds none": "c['seeds'] = []",
    "no settings": "c.pop('settings')",
    "no scorers": "c['scorers'] = {}",
    "setting null": "c['settings'] = {'plain': None, 'styled': None}",
    "kind null": "c['scorers']['toxicity']['kind'] = None",
    "kind unknown": "c['scorers']['toxicity']['kind'] = 'nose'",
    "sweep without keys": "c['analyses'] = {'sweeps': {'dial': {}}}",
    "agreement of none": "c['agreement']['rtp']['scorers'] = ['none']",
    "another key": "c['settings']['plain']['label'] = 'x'",
}
READERS = ("table", "effects", "agreement", "record", "page", "figures")


def edited() -> Iterator[Case]:
    """Yield the cases of this file."""
    yield from _labelled()
    yield from _edited()
    damaged = _edit("results/models/tiny/lm_steer_model.json", "c['files'] = {'a': 5}")
    yield Case("files", WORKING["record"], says="lm_steer_model", before=damaged)
    chat = put("prompts.jsonl", '{"prompt": {"text": "The", "chat": "no"}}')
    yield Case("files", WORKING["prompts"], says="prompt.chat: expected true or false, found 'no'", before=chat)
    columns = "pd.DataFrame({('text', 'a'): ['x'], ('label', 'b'): [1.0]}).to_parquet('texts.parquet')"
    yield Case("files", "data --source file --path texts.parquet -o out", says="no column 'text'", before=columns)
    bare = "for p in Path('origin').glob('*token*'): p.unlink()"
    yield Case(
        "files", WORKING["plain"].replace("model model", "model origin"), says="has no whole tokenizer", before=bare
    )
    endless = "p = Path('results/benchmarks/a/b.tsv'); p.parent.mkdir(parents=True)\n"
    endless += "p.write_text('s\\tmax_rss\\tcpu_time\\ninf\\t1\\t1\\n')"
    yield Case("files", WORKING["record"], FINE, "", endless, "assert 'Infinity' not in Path('out.json').read_text()")
    loop = f"os.symlink('..', 'origin/up')\ncommand(*{WORKING['model'].split()!r})\nassert not Path('out/up').exists()"
    yield Case("files", WORKING["model"], FINE, before=loop)
    zeros = put("texts.csv", "text,label\n" + "".join(f"film {number},0\n" for number in range(9)))
    yield Case("files", WORKING["train"], says="the label of every text is 0", before=zeros)
    forged = (
        '{"scorer": "a\\nb", "version": "1", "text": "a", "attribute": "t", "scored_at": "2026-01-01", "value": 0.5}'
    )
    yield Case("files", WORKING["store import"], says="line 1: scorer", before=put("scores.jsonl", forged))
    off = _edit("steer/steer_config.json", "c['epsilon'] = 0")
    yield Case("files", WORKING["generate"], says="epsilon of a steer must be a finite number other than 0", before=off)
    unnamed = "p = 'results/scores/tiny/toxicity.parquet'; pd.read_parquet(p).assign(version=None).to_parquet(p)"
    yield Case("files", WORKING["table"], says="not finite or not named", before=unnamed)
    for number, change in enumerate(STUDIES.values()):
        command = WORKING[READERS[number % len(READERS)]]
        yield Case("files", command, says="study.json", before=_edit("results/study.json", change))


def _edit(path: str, change: str) -> str:
    return f"p = Path({path!r}); c = json.loads(p.read_text())\n{change}\np.write_text(json.dumps(c))"


def _labelled() -> Iterator[Case]:
    for content, expect in CSV.values():
        for command in (WORKING["data"], WORKING["train"]):
            loosely = EITHER if expect == FINE and command == WORKING["train"] else expect
            yield Case("files", command, loosely, "texts.csv" if loosely != EITHER else "", put("texts.csv", content))
    texts = "assert sorted(pd.concat(pd.read_parquet(p) for p in Path('out').glob('*.parquet'))['text']) == {0!r}"
    for content, want in ((CSV["NA is text"][0], ["NA", "None", "nan", "null"]),):
        yield Case("files", WORKING["data"], FINE, "", put("texts.csv", content), texts.format(want))
    for content in ROWS_OF_TEXTS.values():
        yield Case(
            "files",
            "data --source file --path texts.jsonl -o out",
            says="texts.jsonl",
            before=put("texts.jsonl", content),
        )
    for columns in FRAMES.values():
        before = f"pd.DataFrame({columns}).assign(id='1').to_parquet('texts.parquet')"
        yield Case("files", "data --source file --path texts.parquet -o out", says="texts.parquet", before=before)
        if "id" not in columns:
            yield Case("files", WORKING["lora"], says="", before=before)


def _edited() -> Iterator[Case]:
    for change in TABLES.values():
        before = f"p = 'results/tables/effect.csv'; f = pd.read_csv(p)\n{change}\nf.to_csv(p, index=False)"
        for command in (WORKING["page"], WORKING["compare"], "push steer me/it --table results/tables/effect.csv"):
            # What was edited to something sensible can only be told by a page that knows the checksum.
            sensible = any(word in change for word in ("+ 1", "f, f", "[:0]", "setting", "'low'", "'model'"))
            loose = EITHER if sensible else "refused"
            if "push" not in command or loose == "refused":
                yield Case("files", command, loose, "effect", before)
    for change in SCORES.values():
        before = f"p = 'results/scores/tiny/toxicity.parquet'; f = pd.read_parquet(p)\n{change}\nf.to_parquet(p)"
        # A classifier without an activation gives any number.
        loose = EITHER if "version" in change or "7.0" in change else "refused"
        yield Case("files", WORKING["table"], loose, "toxicity|generations|plain", before)
    for path, changes, command in (
        ("steer/steer_config.json", STEERS, WORKING["generate"]),
        ("steer/steer_config.json", STEERS, WORKING["export"]),
        ("origin/config.json", CONFIGS, ""),
    ):
        for change in changes.values():
            before = _edit(path, change)
            if not command:
                # A folder that obtains but cannot be loaded is refused at the latest when it is used.
                use = WORKING["plain"].replace("--model model", "--model origin")
                # Weights that a model has no use for are common, as in one without some of its layers.
                says_why = "but config.json expects" if "= 48" in change or "= 7" in change else ""
                says_why = "of a smaller model" if "10**7" in change else says_why
                expect = EITHER if "layers'] = 0" in change else "refused"
                yield Case("files", use, expect, says_why, before=before)
            else:
                loose = EITHER if "about" in change else "refused"
                yield Case("files", command, loose, "" if "about" in change else f"none|{says(path)}", before)
