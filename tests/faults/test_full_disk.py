"""A full disk, for real: a small tmpfs in a mount namespace of the command's own."""

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

from lm_steer.model.obtain import obtain
from lm_steer.util.files import write_jsonl

COMMAND = Path(sys.executable).parent / "lm-steer"
NAMESPACE = ["unshare", "--map-root-user", "--mount", "sh", "-c"]


def can_mount(folder: Path) -> bool:
    script = f"mount -t tmpfs -o size=64k none {folder}"
    return bool(shutil.which("unshare")) and subprocess.run([*NAMESPACE, script], capture_output=True).returncode == 0


@pytest.fixture
def study(tmp_path) -> Path:
    tiny.make_model("llama").save_pretrained(tmp_path / "origin")
    tiny.make_tokenizer().save_pretrained(tmp_path / "origin")
    obtain("folder", str(tmp_path / "origin"), tmp_path / "model")
    numbers = random.Random(0)
    rows = [{"text": f"{numbers.getrandbits(300):x} {numbers.getrandbits(300):x}", "label": 0.5} for _ in range(2000)]
    write_jsonl(tmp_path / "texts.jsonl", rows)
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": {"text": text}} for text in tiny.SENTENCES])
    (tmp_path / "small").mkdir()
    if not can_mount(tmp_path / "small"):
        pytest.skip("this machine does not let an ordinary command mount a tmpfs in a namespace of its own")
    return tmp_path


TRAIN = "train --model model --texts texts/train.parquet --dev texts/dev.parquet --dimensions mood --steps 2"
OFTEN = f"{TRAIN} --rank 2000 --cache cache -o small/steer"
SELDOM = (
    "data --source file --path texts.jsonl -o small/data",
    "model --source folder --id origin -o small/model",
    f"{TRAIN} --rank 4 --cache small/cache -o steer",
    "generate --model model --samples 300 --new-tokens 20 --cache cache --prompts prompts.jsonl -o small/out.jsonl",
)


@pytest.mark.parametrize("command", [OFTEN, *(pytest.param(command, marks=pytest.mark.soak) for command in SELDOM)])
def test_one_message_and_no_half_written_file(study, command, row):
    subprocess.run(["lm-steer", *SELDOM[0].replace("small/data", "texts").split()], cwd=study, check=True)
    quoted = " ".join(f"'{part}'" for part in [str(COMMAND), *command.split()])
    listing = "find small -name '*.part*' -o -name '*.parquet' -o -name '*.jsonl' -o -name '*.safetensors'"
    script = f"mount -t tmpfs -o size=64k none small && {quoted}; code=$?; {listing}; exit $code"
    run = subprocess.run([*NAMESPACE, script], cwd=study, capture_output=True, text=True)
    assert run.returncode == 1, run.stderr
    assert "error: " in run.stderr and ("disk is full" in run.stderr or "MB are free" in run.stderr)
    assert "Traceback" not in run.stderr
    assert run.stdout.strip() in ("", "small/data/train.parquet")
    begun = time.monotonic()
    subprocess.run(["lm-steer", *command.split()], cwd=study, check=True, capture_output=True)
    seen = f"“{run.stderr.strip().splitlines()[-1][:90]}”"
    row(f"a full disk under `{command.split()[0]}`", seen, "nothing", time.monotonic() - begun)
