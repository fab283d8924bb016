"""Damaged caches, a folder that cannot be written to, a held store, too little memory: one message, nothing lost."""

import os
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
from faulty import made, run, words

SELDOM = ("data", "generate", "score")
NAMESPACE = ["unshare", "--map-root-user", "--mount", "sh", "-c"]


def again(folder, step, reference) -> tuple[float, subprocess.CompletedProcess]:
    """Give the command again: it ends, with the bytes of an undisturbed run. Returns seconds and what was printed."""
    begun = time.monotonic()
    done = run(folder, step)
    assert done.returncode == 0, done.stderr
    assert made(folder, step) == made(reference.folder, step)
    return time.monotonic() - begun, done


def spoil(path: Path, middle: bool = False) -> None:
    """Cut a file short and put noise at its head, or only put noise into its middle, as a broken disk might."""
    if path.suffix == ".sqlite":
        database = sqlite3.connect(path)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(
        content[:half] + b"noise" * 200 + content[half + 1000 :] if middle else b"noise" * 20 + content[100:half]
    )


@pytest.mark.parametrize("middle", [False, True], ids=["head", "middle"])
@pytest.mark.parametrize(
    ("step", "pattern", "message"),
    [
        ("train", "cache/hidden.sqlite", "recomputing"),
        ("train", "cache/checkpoints/*.safetensors", "restarting the training"),
        ("generate", "cache/generations/*/*.json", "generating its continuations again"),
    ],
)
def test_a_damaged_cache_is_made_again(folder, reference, row, step, pattern, message, middle):
    spoil(sorted(folder.glob(pattern))[0], middle)
    if "hidden" in pattern:
        # A training that is found finished reads no states.
        shutil.rmtree(folder / "cache/checkpoints")
    seconds, done = again(folder, step, reference)
    assert message in done.stderr
    damaged = "damaged in its middle" if middle else "damaged"
    row(f"`{pattern}` {damaged} before `{step}`", f"“… {message}”", "nothing", seconds)


def test_a_damaged_store_of_scores_is_not_thrown_away(folder, reference, row):
    store = folder / "cache/scores.sqlite"
    spoil(store)
    damaged = store.read_bytes()
    done = run(folder, "score")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "cache/scores.sqlite is damaged" in done.stderr and ".recover" in done.stderr
    assert store.read_bytes() == damaged
    store.rename(store.with_suffix(".damaged"))
    seconds, _ = again(folder, "score", reference)
    seen = "“cache/scores.sqlite is damaged …: save what is left by … .recover, or move it away to score again”"
    row("the store of scores damaged before `score`", seen, "nothing; the file is left as it is", seconds)


def hold(folder: Path) -> sqlite3.Connection:
    """Hold the store of scores, emptied, as another process that writes would."""
    holder = sqlite3.connect(folder / "cache/scores.sqlite", isolation_level=None, check_same_thread=False)
    holder.execute("DELETE FROM scores")
    holder.execute("BEGIN EXCLUSIVE")
    return holder


def has_open(process: subprocess.Popen, path: Path) -> bool:
    links = Path(f"/proc/{process.pid}/fd").glob("*")
    return any(os.path.realpath(link) == str(path.resolve()) for link in links)


def test_a_store_that_another_process_holds_is_waited_for(folder, reference, row):
    holder = hold(folder)
    begun = time.monotonic()
    process = subprocess.Popen(words("score"), cwd=folder, stderr=subprocess.PIPE, text=True)
    while not has_open(process, folder / "cache/scores.sqlite"):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    # What it does first there is to wait: it ends well whenever the other process is done.
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(5)
    holder.execute("COMMIT")
    _, errors = process.communicate()
    seconds = time.monotonic() - begun
    assert process.returncode == 0, errors
    assert made(folder, "score") == made(reference.folder, "score")
    row("the store locked by another process for some seconds", "nothing; the step waits", "nothing", seconds)


@pytest.mark.soak
def test_a_store_that_is_held_for_long_is_named(folder, reference, row):
    holder = hold(folder)
    done = run(folder, "score")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "database is locked" in done.stderr
    holder.execute("COMMIT")
    seconds, _ = again(folder, "score", reference)
    seen = "“error: … (database is locked): make sure that it is … not locked by another process …”"
    row("the store locked for more than a minute", seen, "nothing", seconds)


@pytest.mark.parametrize("step", ["train", *(pytest.param(step, marks=pytest.mark.soak) for step in SELDOM)])
def test_a_read_only_folder_is_named(folder, reference, row, step):
    if not shutil.which("unshare") or subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("this machine does not let an ordinary command have a mount namespace of its own")
    shutil.rmtree(folder / "cache")
    before = made(folder, step)
    quoted = " ".join(f"'{word}'" for word in words(step))
    script = f'mount --bind . . && mount -o remount,ro,bind . && cd "$PWD" && {quoted}'
    done = subprocess.run([*NAMESPACE, script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "error: " in done.stderr and "Traceback" not in done.stderr
    assert "ead-only" in done.stderr or "readonly" in done.stderr
    assert made(folder, step) == before
    seconds, _ = again(folder, step, reference)
    row(f"results read-only under `{step}`", f"“{done.stderr.strip().splitlines()[-1][:90]}”", "nothing", seconds)


def test_too_little_memory_is_named(folder, reference, row):
    shutil.rmtree(folder / "cache")
    command = ["prlimit", f"--as={6 << 30}", *words("train")]
    command[command.index("--rank") + 1] = "40000000"
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr[-2000:]
    assert "error: out of memory" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    seconds, _ = again(folder, "train", reference)
    row("too little memory for `train`", f"“{done.stderr.splitlines()[-1][:21]} …”", "nothing", seconds)


def test_a_clock_that_jumps_changes_nothing(folder, reference, row):
    # The cache and the inputs are from the future, as after a clock was set back by a year.
    for path in [*folder.glob("cache/**/*"), folder / "prompts.jsonl"]:
        os.utime(path, (time.time() + 3e7,) * 2)
    seconds, done = again(folder, "generate", reference)
    assert "from an earlier run" in done.stderr
    row("the clock set back by a year between two runs", "nothing", "nothing", seconds)
