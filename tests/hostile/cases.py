"""What a hostile case is: a command, what lies in its folder, and what must come of it."""

from dataclasses import dataclass
from pathlib import Path

FINE, REFUSED, EITHER = "fine", "refused", "either"
# Where a case may write unless it says otherwise; what can be computed again may always change.
MAKES = "out"


@dataclass(frozen=True)
class Case:
    """One hostile use of the package, run in a copy of the world (world.py).

    command     of `lm-steer`, or Python if it begins with `py:`
    expect      FINE, REFUSED (one sentence, exit code 1 or 2), or EITHER where both are sensible
    says        a pattern that the message of a refusal must match
    before      Python that prepares the folder
    seconds     after so many it hangs
    check       Python that must hold after a run that ended well
    makes       what the command may write: paths that begin so
    """

    group: str
    command: str
    expect: str = REFUSED
    says: str = ""
    before: str = ""
    check: str = ""
    makes: str = MAKES
    stdin: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    seconds: float = 120.0

    @property
    def name(self) -> str:
        """What the case does, in one line: its command and how its folder was prepared."""
        told = [self.before, self.stdin, " ".join(map("=".join, self.environment))]
        prepared = "".join(f" [{' '.join(part.split())[:90]}]" for part in told if part)
        code = self.command.removeprefix("py:").strip().splitlines()
        told = self.command if not self.command.startswith("py:") else code[0] if code[0].startswith("#") else code[-1]
        return f"{self.group}: {' '.join(told.split())[:150]}{prepared}"


MODEL = "model --source folder --id origin -o out"
DATA = "data --source file --path texts.csv -o out"
PROMPTS = "prompts --source file --path prompts.jsonl -o out.jsonl"
TRAIN = "train --model model --texts texts.csv --rank 2 --steps 2 --batch-size 2 -o out"
PLAIN = "generate --model model --samples 2 --new-tokens 3 --prompts prompts.jsonl -o out.jsonl"
GENERATE = f"{PLAIN} --steer steer --at style=5"
EXTERNAL = "external --path g.jsonl -o out.jsonl"
SCORE = "score --kind profanity-check --file g.jsonl -o out.parquet"
PERPLEXITY = "score --kind causal-lm --resource model --file g.jsonl -o out.parquet"
SENTIMENT = "score --kind bag-of-words --resource judge --file g.jsonl -o out.parquet"
CLASSIFIER = (
    "score --kind classifier --resource classifier --option label=LABEL_1 --option attribute=toxicity --file g.jsonl"
    " -o out.parquet"
)
JUDGE = "judge --held-out texts.parquet --exclude prompts.jsonl -o out"
EXPORT = "export --model model --steer steer --at style=5 -o out"
IMPORT = "import-original checkpoint.pt --dimensions style,corpus -o out"
LORA = "analyse lora --model model --texts texts.parquet --labels 0.5 1 --budget-rank 2 --steps 2 --batch-size 2 -o out"
TRANSFER = "analyse transfer --steer steer --source model --target other -o out"
DIRECTIONS = (
    "analyse directions --model model --steer steer --dimension style --count 2 --words 3"
    " --spectrum out2.csv -o out.csv"
)
EVIDENCE = (
    "analyse evidence --model model --steer steer --at style=5 --dimension style --text 'The movie was a joy.'"
    " --readings out2.csv -o out.csv"
)
COST = "analyse cost --model model --steer steer --at style=5 -o out.csv"
EFFECTS = "analyse effects --study results/study.json --name dial -o out.csv"
AGREEMENT = "agreement --file rtp.jsonl --study results/study.json --name rtp --pairs out2.parquet -o out.csv"
TABLE = "table --study results/study.json --name effect -o out.csv"
RECORD = "record --study results/study.json --benchmarks out2.csv -o out.json"
PAGE = "report page -o out.html"
FIGURES = "report figures -o out"
COMPARE = "report compare results results"
STORE_EXPORT = "store export --cache cache -o out.jsonl"
STORE_IMPORT = "store import scores.jsonl --cache out-cache"
STORE_LIST = "store list --cache cache"
GATHER = "gather shared/out.jsonl --shards 2 --folder shared"
BENCH = "bench --model model --prompts 2 --samples 1 --new-tokens 2 --steps 1 --batch 1 --text-tokens 4 --rank 2 "
ENGINES = "engines"
CALIBRATE = "calibrate --model model --steer steer --dimension style --texts texts.csv --value 5 -o out.csv"
EVALUATE = "evaluate g.jsonl --metrics toxicity,dist-n -o out.csv"
PUBLISH = "report publish -o out.zip"
FETCH = "report fetch run.zip -o out"
EASYSTEER = "export-easysteer --steer steer -o out.pt"

WORKING = {
    "model": MODEL,
    "data": DATA,
    "prompts": PROMPTS,
    "train": TRAIN,
    "generate": GENERATE,
    "plain": PLAIN,
    "external": EXTERNAL,
    "score": SCORE,
    "perplexity": PERPLEXITY,
    "sentiment": SENTIMENT,
    "classifier": CLASSIFIER,
    "export": EXPORT,
    "import": IMPORT,
    "lora": LORA,
    "transfer": TRANSFER,
    "directions": DIRECTIONS,
    "evidence": EVIDENCE,
    "cost": COST,
    "effects": EFFECTS,
    "agreement": AGREEMENT,
    "table": TABLE,
    "record": RECORD,
    "page": PAGE,
    "figures": FIGURES,
    "compare": COMPARE,
    "store export": STORE_EXPORT,
    "store import": STORE_IMPORT,
    "store list": STORE_LIST,
    "gather": GATHER,
    "bench": BENCH,
    "engines": ENGINES,
    "calibrate": CALIBRATE,
    "evaluate": EVALUATE,
    "publish": PUBLISH,
    "fetch": FETCH,
    "easysteer": EASYSTEER,
}


def with_output(command: str, output: str) -> str:
    """Return a working command with another output."""
    start, _, rest = command.partition(" -o ")
    return f"{start} -o {output} {' '.join(rest.split()[1:])}".strip()


def put(path: str, content: str | bytes) -> str:
    """Return the Python that writes a file into a case's folder."""
    data = content.encode() if isinstance(content, str) else content
    return f"Path({str(Path(path))!r}).write_bytes({data!r})\n"


def says(path: str) -> str:
    """A message names the file, its folder where that is what the user named, or the option that it was given to."""
    return f"{path}|{path.split('/')[0]}|--study|the store"
