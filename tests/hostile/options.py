"""Options: numbers out of their range, names that no later command can address, and what contradicts itself."""

from collections.abc import Iterator

from hostile.cases import EITHER, FINE, WORKING, Case

WHOLE = "-1 1.7 nan 1e400 '' five"
COUNT, POSITIVE = WHOLE, f"0 {WHOLE}"
SEED = "-1 1.5 '' 99999999999999999999999"
REAL = "0 -1 nan inf 1e400 '' five"
# What each option must refuse; a value of 0 stands first where it means nothing.
NUMBERS = {
    "train": {
        "--rank": f"{POSITIVE} 1000000000000",
        "--steps": POSITIVE,
        "--batch-size": f"-2 {POSITIVE}",
        "--max-length": POSITIVE,
        "--epsilon": REAL,
        "--learning-rate": REAL,
        "--regularization": "-1 nan inf ''",
        "--count": f"1000 {COUNT}",
        "--patience": COUNT,
        "--label-scale": "nan inf 1e400 ''",
        "--seed": SEED,
    },
    "generate": {
        "--samples": POSITIVE,
        "--new-tokens": POSITIVE,
        "--top-p": "0 -1 2 1.0001 nan inf '' most",
        "--top-k": COUNT,
        "--seed": SEED,
        "--shard": "0-of-1 3-of-2 1-of-0 -1-of-2 1 of-2 '' 1-of-2-of-3 1.5-of-2",
    },
    "score": {"--prompts": COUNT, "--shard": "0-of-1 3-of-2 one-of-two"},
    "lora": {
        "--budget-rank": POSITIVE,
        "--steps": POSITIVE,
        "--batch-size": POSITIVE,
        "--learning-rate": REAL,
        "--max-length": POSITIVE,
        "--count": COUNT,
        "--seed": SEED,
        "--labels": "'nan 1' '1 0.5' 'inf inf'",
    },
    "prompts": {"--count": COUNT},
    "directions": {"--count": POSITIVE, "--words": POSITIVE},
    "evidence": {
        "--at": "style=nan style=inf style=-inf style=1e400 style= style=five",
        "--spans": POSITIVE,
        "--length": POSITIVE,
        "--reading": "nan inf ''",
    },
    "transfer": {"--anchors": POSITIVE, "--seed": SEED},
    "data": {"--seed": "1.5 '' -1"},
    "gather": {"--shards": POSITIVE},
    "bench": {
        "--prompts": POSITIVE,
        "--samples": POSITIVE,
        "--new-tokens": POSITIVE,
        "--top-p": "0 2 nan",
        "--steps": "0 -1",
        "--batch": POSITIVE,
        "--text-tokens": "0 -1",
        "--rank": "0 -1",
    },
    "demo": {"--port": "-1 0.5 65536 99999999 http ''"},
    "perspective": {
        "--option": "queries_per_second=0 queries_per_second=-1 queries_per_second=nan queries_per_second= no"
    },
}
COMMANDS = WORKING | {
    "demo": "demo --model model --steer steer",
    "perspective": "score --kind perspective --option mode=replay --option version=1 --file g.jsonl -o out.parquet",
}
VALUES = (
    "style=5 style=-5",
    "style",
    "style=",
    "style=five",
    "style=nan",
    "style=inf",
    "style=1e400",
    "=5",
    "style==5",
    "tone=5",
    "style=5,corpus=1",
    "style=1e30",
    "style=5 corpus=1 corpus=1",
)
SINGLE = (
    (f"{WORKING['train']} --dimensions ''", "dimension"),
    (f"{WORKING['train']} --dimensions style,style", "different names"),
    (f"{WORKING['train']} --cache texts.csv", "--cache: texts.csv is not a folder"),
    (f"{WORKING['train']} --dimensions ,corpus", "dimension"),
    (f"{WORKING['train']} --dimensions 'my style,corpus'", "dimension"),
    (f"{WORKING['train']} --dimensions 'a=b,corpus'", "dimension"),
    (f"{WORKING['train']} --dimensions 'a|b,corpus'", "dimension"),
    (f"{WORKING['train']} --dimensions 'a+b,corpus'", "dimension"),
    (f"{WORKING['train']} --dimensions 'style, corpus'", "dimension"),
    (f"{WORKING['train']} --dimensions corpus", "dimension"),
    (f"{WORKING['train']} --dimensions a,b,c", "no column 'a'"),
    (WORKING["directions"].replace("dimension style", "dimension 'style\n'"), r"dimension 'style\\n'"),
    (f"{WORKING['train']} --kind subtract", "kind"),
    (f"{WORKING['train']} --dtype float8", "dtype"),
    (f"{WORKING['train']} --text-column ''", "column"),
    (f"{WORKING['train']} --text-column label", "text"),
    (f"{WORKING['train']} --text-column txet", "no column 'txet'"),
    (f"{WORKING['train']} --label-scale 1e300", ""),
    (WORKING["train"].replace("model model", "model ''"), "--model is blank"),
    (WORKING["train"].replace("model model", "model docs"), "config.json"),
    (WORKING["train"].replace("model model", "model none"), "none"),
    (WORKING["train"].replace("texts.csv", "' '"), "--texts is blank"),
    (WORKING["train"].replace("texts.csv", "docs"), "docs"),
    (f"{WORKING['train']} --rank 4", "--rank is given twice"),
    (f"{WORKING['train']} --output out2", "--output is given twice"),
    (f"{WORKING['lora']} --labels 0 1", "--labels is given twice"),
    (WORKING["agreement"].replace("name rtp", "name ''"), "--name is blank"),
    (f"{WORKING['train']} --dev none.csv", "none.csv"),
    (f"{WORKING['train']} --steps", "--steps"),
    ("import-original checkpoint.pt --dimensions '' -o out", "dimension"),
    ("import-original checkpoint.pt --dimensions style -o out", "dimension"),
    ("import-original checkpoint.pt --dimensions 'a b,corpus' -o out", "dimension"),
    ("import-original checkpoint.pt --dimensions a=b,corpus -o out", "dimension"),
    ("import-original none.pt --dimensions a,b -o out", "none.pt"),
    ("import-original docs --dimensions a,b -o out", "docs"),
    ("model --source folder --id '' -o out", "id"),
    ("model --source folder --id none -o out", "none"),
    ("model --source floder --id origin -o out", "source|floder"),
    ("model --source package --id none -o out", "none"),
    ("model --source hub --id origin -o out", "origin"),
    ("model --source hub --id ../../etc -o out", "etc"),
    ("model --source hub --id a/b/c -o out", "a/b/c"),
    ("model --source hub --id '' -o out", "id"),
    ("model --source rotated --id docs -o out", "docs"),
    ("model --source rotated --id classifier -o out", "causal language model"),
    ("store import /dev/null --cache out-cache", "/dev/null is empty"),
    ("data --source nowhere -o out", "nowhere"),
    ("data --source file -o out", "path"),
    ("data --source jigsaw -o out", "origin"),
    ("prompts --source file -o out.jsonl", "path"),
    ("prompts --source nowhere -o out.jsonl", "nowhere"),
    ("prompts --source paper -o out.jsonl", "name"),
    ("prompts --source paper --name kind -o out.jsonl", "kind"),
    ("prompts --source openings -o out.jsonl", "dataset.*count"),
    ("prompts --source openings --dataset texts.parquet --count 0 -o out.jsonl", "count"),
    ("prompts --source openings --dataset texts.parquet --count 2 --words 0 -o out.jsonl", "words"),
    ("prompts --source openings --dataset texts.parquet --count 2 --words -3 -o out.jsonl", "words"),
    ("prompts --source openings --dataset texts.parquet --count 999 -o out.jsonl", "999"),
    ("prompts --source openings --dataset texts.parquet --count 2 --labels 1 0 -o out.jsonl", "label"),
    ("prompts --source openings --dataset texts.parquet --count 2 --labels nan nan -o out.jsonl", "label"),
    ("prompts --source openings --dataset none.parquet --count 2 -o out.jsonl", "none.parquet"),
    ("score --kind none --file g.jsonl -o out.parquet", "none"),
    ("score --kind causal-lm --file g.jsonl -o out.parquet", "resource|model"),
    ("score --kind causal-lm --resource docs --file g.jsonl -o out.parquet", "docs"),
    ("score --kind bag-of-words --file g.jsonl -o out.parquet", ""),
    ("score --kind bag-of-words --resource docs --file g.jsonl -o out.parquet", "docs"),
    ("score --kind classifier --resource model --option label=a --file g.jsonl -o out.parquet", ""),
    (f"{WORKING['classifier']} --option label=no", "no"),
    ("score --kind classifier --resource classifier --option preset=no --file g.jsonl -o out.x", "preset"),
    (f"{WORKING['classifier']} --option attribute=perplexity", "attribute"),
    (f"{WORKING['classifier']} --option activation=relu", "activation"),
    ("score --kind perspective --option mode=relive --file g.jsonl -o out.parquet", "mode"),
    ("score --kind perspective --option mode=replay --option score=half --file g.jsonl -o out.parquet", "score"),
    ("score --kind perspective --option mode=replay --option version=none --file g.jsonl -o out.parquet", ""),
    ("analyse directions --model model --steer steer --dimension tone --spectrum out2.csv -o out.csv", "tone"),
    ("analyse directions --model model --steer docs --dimension style --spectrum out2.csv -o out.csv", "docs"),
    ("analyse directions --model model --steer steer --dimension '' --spectrum out2.csv -o out.csv", "dimension"),
    (f"{WORKING['directions']} --judge none", "none"),
    (WORKING["evidence"].replace("dimension style", "dimension tone"), "tone"),
    (f"{WORKING['evidence']} --text ''", "text"),
    (f"{WORKING['evidence'].replace('style=5', 'style=0')}", "style"),
    (f"{WORKING['evidence'].replace('style=5', 'corpus=1')}", "style"),
    (WORKING["evidence"].replace("style=5", "'style=5 tone=1'"), "tone"),
    (f"{WORKING['evidence']} --path none.jsonl", ""),
    (f"{WORKING['cost']} --training none.tsv", "none.tsv"),
    (f"{WORKING['export']} --engine none", "engine"),
    (f"{WORKING['export']} --form gguf", "form"),
    ("bench --shape none", "none"),
    ("bench --model docs", "docs"),
    (f"{WORKING['bench']} --device tpu", "device|tpu"),
    (f"{WORKING['bench']} --device cuda:99", "device|cuda"),
    ("store export --cache cache --scorer none -o out.jsonl", "none"),
    ("store export --cache cache --version none -o out.jsonl", "none"),
    ("store export --cache out-cache -o out.jsonl", ""),
    ("store list --cache texts.csv", "texts.csv"),
    ("report compare docs results", "docs"),
    ("report compare none results", "none"),
    ("report page --results none -o out.html", "none"),
    ("report page --results docs -o out.html", "docs"),
    ("report figures --study none.json -o out", "none.json"),
    ("push steer not-a-repo", "not-a-repo|repository"),
    ("push docs me/it", "docs"),
    ("push steer me/it --table none.csv", "none.csv"),
    ("push steer '' ", ""),
    ("demo --model model --steer docs", "docs"),
    ("demo --model model --steer steer --host 'no such host'", "host"),
    ("demo --model none --steer steer", "none"),
    ("demo --results docs", ""),
    ("generate --model model", "--prompts"),
    ("generate --model model -o out.jsonl", "--prompts"),
    ("generate --model model --prompts prompts.jsonl", "--output"),
    (f"{WORKING['plain']} --study results/study.json", "--study"),
    ("generate --model none --study results/study.json", "none"),
    ("generate --model tiny --study results/study.json --setting none", "none"),
    ("generate --model tiny --study texts.csv", "texts.csv"),
    ("table --study results/study.json --name none -o out.csv", "none"),
    ("analyse effects --study results/study.json --name effect -o out.csv", "effect"),
    ("agreement --file rtp.jsonl --study results/study.json --name none -o out.csv", "none"),
    (f"{WORKING['evidence']} --study results/study.json --name none", "text|none"),
    ("generate --model model --prompts none.jsonl -o out.jsonl", "none.jsonl"),
    (f"{WORKING['plain']} --steer none --at style=5", "none"),
    (f"{WORKING['plain']} --steer steer", "--at"),
    (f"{WORKING['plain']} --at style=5", "--at"),
    (f"{WORKING['generate']} --steer steer --at style=5", "steer"),
    (WORKING["plain"].replace("tokens 3", "tokens 100000"), "token"),
    ("model --source Folder --id origin -o out", "Folder"),
    ("score --kind profanity-check --file g.jsonl --file ./g.jsonl -o out.parquet", "g.jsonl twice"),
    ("score --kind classifier --file g.jsonl -o out.parquet", "resource"),
    ("generate --model model/config.json --prompts prompts.jsonl -o out.jsonl", "model/config.json is a file"),
    (f"{WORKING['train'].replace('--batch-size 2', '--batch-size 999999999')}", "batch_size"),
    (f"{WORKING['lora'].replace('--batch-size 2', '--batch-size 999999999')}", "batch_size"),
    # What would mean nothing here.
    (f"{WORKING['plain']} --setting up", "--setting needs --study"),
    (f"{WORKING['evidence']} --name some", "--name needs --study"),
    (f"{WORKING['directions']} --resource docs", "--resource needs --judge"),
    (f"{WORKING['directions']} --judge causal-lm --resource model", "causal-lm yields perplexity"),
    (f"{WORKING['calibrate'].replace('texts texts.csv', 'generations g.jsonl')} --text-column a", "needs --texts"),
    (f"{WORKING['bench']} --shape gpt2", "--shape does not go with --model"),
    (f"{WORKING['score']} --resource docs", "does not use the option --resource"),
    ("push steer me/it --row Up", "--row needs --table"),
    (
        "side-effects --study s.json --name a --scorer b --model model --task c --count 5 -o out",
        "--count needs --texts",
    ),
    ("generate --model tiny --study results/study.json --seed 77", "there is no seed '77'"),
    ("bench --shape pythia-70m --device tpu", "the device 'tpu' is not available"),
    (f"{WORKING['train']} --dimensions a,b --label-column label,,tone", "each of the dimensions a, b, found 3"),
    (f"{WORKING['train']} --epsilon 1e-300", "epsilon"),
    (f"{WORKING['generate'].replace('style=5', 'style=5,corpus=1')}", "written as `detox=5 corpus=1`"),
    ("none", "none"),
    ("report none", "none"),
    ("--none", "--none"),
)


def options() -> Iterator[Case]:
    """Yield the cases of this file."""
    import shlex

    for name, known in NUMBERS.items():
        for option, values in known.items():
            for value in shlex.split(values):
                given = value if option == "--labels" else shlex.quote(value)
                # Of `--option key=value` it is the key that is wrong.
                says = value.partition("=")[0] if "=" in value and option == "--option" else option.strip("-")
                yield Case("options", f"{_without(COMMANDS[name], option)} {option} {given}", says=says)
    for values in VALUES:
        yield Case("options", f"{WORKING['export'].replace('style=5', repr(values))}")
        yield Case("options", f"{WORKING['cost'].replace('style=5', repr(values))}")
        yield Case("options", f"{WORKING['generate'].replace('style=5', repr(values))}")
    for command, says in SINGLE:
        yield Case("options", command, says=says)
    many = WORKING["evidence"] + " --spans 1000000000 --length 1000000000"
    yield Case("options", many, FINE)
    for value in ("１２", "1_0", " 3", "+3", "0x10"):
        yield Case("options", f"{_without(WORKING['train'], '--steps')} --steps {value!r}", EITHER, "--steps")


def _without(command: str, option: str) -> str:
    """Take an option and its value out of a command."""
    words = command.split(" ")
    if option not in words:
        return command
    place = words.index(option)
    return " ".join(words[:place] + words[place + (3 if option == "--labels" else 2) :])
