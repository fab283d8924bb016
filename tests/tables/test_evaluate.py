import json
from pathlib import Path

import pandas as pd
import pytest

import lm_steer
from lm_steer import LMSteerError
from lm_steer.cli import main
from lm_steer.score.store import STORE, ScoreStore
from lm_steer.tables import metrics
from lm_steer.util.files import write_jsonl

PROMPTS = ["The film", "My day", "A book", "This idiot", "Our house", "The road"]
KIND = [" is a joy", " was lovely", " of great beauty"]
RUDE = [" is a fucking idiot", " is shit", " sucks, you moron"]


def write(path, prompts, samples) -> str:
    rows = [{"prompt": {"text": prompt}, "generations": [{"text": text} for text in samples]} for prompt in prompts]
    write_jsonl(path, rows)
    return str(path)


@pytest.fixture
def files(tmp_path):
    return [write(tmp_path / f"{name}.jsonl", PROMPTS, texts) for name, texts in (("kind", KIND), ("rude", RUDE))]


def cell(frame: pd.DataFrame, file: str, metric: str) -> pd.Series:
    (row,) = frame[(frame["file"] == file) & (frame["metric"] == metric)].to_dict("records")
    return row


def test_files_are_judged_without_a_study(files, tmp_path):
    kind, rude = files
    frame = lm_steer.evaluate([rude], ["toxicity", "dist-n"], against=kind, cache=tmp_path)
    row = cell(frame, rude, "avg_max_toxicity")
    assert row["value"] > 0.5 > cell(frame, kind, "avg_max_toxicity")["value"]
    assert row["difference_low"] <= row["difference"] <= row["difference_high"] and row["difference"] > 0.3
    assert (row["n_prompts"], row["n_generations"], row["scorer"]) == (6, 18, "profanity-check")
    assert pd.isna(cell(frame, kind, "avg_max_toxicity")["difference"]), "the base is not compared with itself"
    assert cell(frame, rude, "dist_1")["value"] == pytest.approx(metrics.named("dist_1")([RUDE] * 6))


def test_perplexity_is_that_of_the_model_that_is_named(files, make_loaded, tmp_path):
    folder = make_loaded("gpt2").model.config._name_or_path
    frame = lm_steer.evaluate(files[:1], ["perplexity"], {"perplexity": folder}, cache=tmp_path)
    assert set(frame["metric"]) == {metric.name for metric in metrics.of_attribute("perplexity")}
    assert (frame["value"] > 1).all()


def test_other_prompts_cannot_be_compared(files, tmp_path):
    other = write(tmp_path / "other.jsonl", [*PROMPTS[:2], "A cook", *PROMPTS[3:]], KIND)
    with pytest.raises(LMSteerError, match=r"prompt 3 of the first is 'A cook', of the second 'A book'"):
        lm_steer.evaluate([other], ["dist-n"], against=files[0], cache=tmp_path)
    short = write(tmp_path / "short.jsonl", PROMPTS[:2], KIND)
    with pytest.raises(LMSteerError, match=r"prompt 3 of the first is missing"):
        lm_steer.evaluate([short], ["dist-n"], against=files[0], cache=tmp_path)


@pytest.mark.parametrize(
    ("wanted", "judges", "message"),
    [
        (["tox"], {}, "there is no attribute 'tox'"),
        (["toxicity"], {"toxicity": "bag-of-words"}, "bag-of-words yields sentiment, not toxicity"),
        (["toxicity"], {"toxicity": "nobody"}, "there is no judge of toxicity 'nobody'"),
        (["toxicity"], {"toxicity": "sst2-distilbert"}, "yields sentiment, not toxicity"),
        (["toxicity"], {"toxicity": "deberta-perspective"}, "not pinned to a commit.*PRESET@COMMIT"),
    ],
)
def test_an_unknown_attribute_or_judge_is_named(files, tmp_path, wanted, judges, message):
    with pytest.raises(LMSteerError, match=message):
        lm_steer.evaluate(files, wanted, judges, cache=tmp_path)


def test_the_command_prints_a_table_and_writes_what_programs_read(files, tmp_path, monkeypatch, capsys):
    kind, rude = files
    monkeypatch.setenv("COLUMNS", "200")

    def run(*options: str) -> str:
        command = ["lm-steer", "evaluate", rude, "--against", kind, "--metrics", "dist-n", *options]
        monkeypatch.setattr("sys.argv", [*command, "--cache", str(tmp_path / "cache")])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        return capsys.readouterr().out

    printed = run("-o", str(tmp_path / "table.csv"))
    assert "6 prompts, 18 generations" in printed and "Dist-1" in printed
    frame = pd.read_csv(tmp_path / "table.csv")
    assert [row["metric"] for row in json.loads(run("--json"))] == list(frame["metric"])


def test_one_file_and_one_attribute_need_no_list(files, tmp_path):
    one = lm_steer.evaluate(Path(files[0]), "dist-n", against=Path(files[1]), cache=str(tmp_path))
    pd.testing.assert_frame_equal(one, lm_steer.evaluate(files[:1], ["dist-n"], against=files[1], cache=tmp_path))
    with pytest.raises(LMSteerError, match="nothing to evaluate"):
        lm_steer.evaluate([], ["dist-n"], cache=tmp_path)


def test_an_interval_without_an_upper_end_is_written_in_words(files, make_loaded, tmp_path, monkeypatch, capsys):
    folder = make_loaded("gpt2").model.config._name_or_path
    options = ["--metrics", "perplexity", "--judge", f"perplexity={folder}", "--cache", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["lm-steer", "evaluate", files[0], *options])
    with pytest.raises(SystemExit):
        main()
    printed = capsys.readouterr().out
    assert " or more" in printed and "nan" not in printed


def test_few_texts_that_make_most_of_a_mean_are_counted(files, make_loaded, tmp_path, monkeypatch, capsys):
    folder = make_loaded("gpt2").model.config._name_or_path
    judges = {"perplexity": folder}
    lm_steer.evaluate(files[:1], "perplexity", judges, cache=tmp_path)
    change = "UPDATE scores SET value = 10 * value WHERE attribute = 'nll' AND text = (SELECT MIN(text) FROM scores)"
    ScoreStore(tmp_path / STORE).database.execute(change)
    frame = lm_steer.evaluate(files[:1], "perplexity", judges, cache=tmp_path)
    row = cell(frame, files[0], "perplexity_unfiltered")
    assert row["dominating"] == 1 and row["dominating_share"] > 0.9
    assert cell(frame, files[0], "perplexity")["dominating"] == 0
    monkeypatch.setenv("COLUMNS", "200")
    options = ["--metrics", "perplexity", "--judge", f"perplexity={folder}", "--cache", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["lm-steer", "evaluate", files[0], *options])
    with pytest.raises(SystemExit):
        main()
    assert "Unfiltered perplexity ↓ (1 text makes 100 % of it)" in capsys.readouterr().out
