import pandas as pd
import pytest

from lm_steer import LMSteerError
from lm_steer.data.shards import Shard, gather


@pytest.mark.parametrize("total", [0, 1, 5, 8, 100])
@pytest.mark.parametrize("count", [1, 3, 8])
def test_shards_hold_everything_once_and_in_order(total, count):
    things = list(range(total))
    parts = [things[Shard(number, count).of(total)] for number in range(1, count + 1)]
    assert [thing for part in parts for thing in part] == things
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_shard_is_read():
    assert Shard.parse("2-of-4") == Shard(2, 4)


@pytest.mark.parametrize("text", ["", "2", "0-of-4", "5-of-4", "2/4", "a-of-b"])
def test_what_is_no_shard_is_named(text):
    with pytest.raises(LMSteerError, match="2-of-4"):
        Shard.parse(text)


def test_files_are_joined_in_the_order_of_their_shards(tmp_path):
    for number in range(1, 12):
        part = tmp_path / f"shards/{number}-of-11/texts/out.jsonl"
        part.parent.mkdir(parents=True)
        part.write_text(f'{{"number": {number}}}\n' if number != 5 else "", encoding="utf-8")
    gather([tmp_path / "texts/out.jsonl"], tmp_path, 11)
    joined = (tmp_path / "texts/out.jsonl").read_text(encoding="utf-8").splitlines()
    assert joined == [f'{{"number": {number}}}' for number in range(1, 12) if number != 5]


def test_scores_are_joined_file_by_file_in_the_order_of_their_prompts(tmp_path):
    whole = pd.DataFrame(
        [(file, prompt, sample, 0.5 * prompt) for file in ("b", "a") for prompt in range(5) for sample in range(2)],
        columns=["file", "prompt", "sample", "toxicity"],
    )
    for number in range(1, 9):
        part = tmp_path / f"shards/{number}-of-8/scores/judge.parquet"
        part.parent.mkdir(parents=True)
        mine = range(5)[Shard(number, 8).of(5)]
        whole[whole["prompt"].isin(mine)].to_parquet(part, index=False)
    gather([tmp_path / "scores/judge.parquet"], tmp_path, 8)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "scores/judge.parquet"), whole)


@pytest.mark.parametrize("damage", [b"", b"noise", None])
@pytest.mark.parametrize("number", [1, 2])
def test_a_damaged_shard_of_scores_is_named_and_nothing_is_written(tmp_path, number, damage):
    for each in (1, 2):
        part = tmp_path / f"shards/{each}-of-2/scores/out.parquet"
        part.parent.mkdir(parents=True)
        pd.DataFrame({"file": ["a"], "score": [0.5]}).to_parquet(part)
    part = tmp_path / f"shards/{number}-of-2/scores/out.parquet"
    if damage is None:
        pd.DataFrame({"file": ["a"], "other": ["x"]}).to_parquet(part)
    else:
        part.write_bytes(damage)
    with pytest.raises(LMSteerError, match=r"shards/\d-of-2/scores/out\.parquet"):
        gather([tmp_path / "scores/out.parquet"], tmp_path, 2)
    assert not (tmp_path / "scores/out.parquet").exists()
