"""The parts of the page on what one steer holds: its directions as words, evidence in texts, its costs.

words_of(name, block, study, results)       # yields a part for each model: title, text, figures, tables
"""

import base64
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from lm_steer.report.figures.curves import likelihood, spectrum
from lm_steer.report.figures.planes import words as words_in_plane
from lm_steer.report.figures.rows import token_bars
from lm_steer.report.wording import number, signed
from lm_steer.study.analyses import Cost, Directions, Evidence
from lm_steer.study.config import Study
from lm_steer.util.formats import harmless, read_csv, require_rows

Part = dict[str, Any]
# Words of an end that are drawn: more would lie on each other.
DRAWN = 7


def words_of(name: str, block: Directions, study: Study, results: Path) -> Iterator[Part]:
    """Yield word lists of both ends, words in the plane of the first two directions, how rank concentrates."""
    for model in study.steered:
        paths = [results / "analyses" / model / f"{name}.{part}.csv" for part in ("words", "spectrum")]
        if not all(path.exists() for path in paths):
            continue
        columns = ("direction", "place", "share", "x", "y")
        words = read_csv(paths[0], ("end", "word"), columns, gaps=("score",))
        sigmas = read_csv(paths[1], numbers=("share", "effective_rank"))
        require_rows(words, paths[0])
        require_rows(sigmas, paths[1])
        rows = []
        for number_, lines in words.groupby("direction"):
            raised, lowered = (lines[lines["end"] == end] for end in ("raised", "lowered"))
            scores = [[_score(end)] for end in (raised, lowered)] if block.scorer else [[], []]
            share = f"{100 * lines['share'].iloc[0]:.1f}"
            listed = [", ".join(end["word"]) for end in (raised, lowered)]
            rows.append([str(number_), share, listed[0], *scores[0], listed[1], *scores[1]])
        judged = [f"{block.scorer} of these"] if block.scorer else []
        dimension = block.dimension
        head = ["Direction", "Share, %", f"{dimension} + raises", *judged, f"{dimension} + lowers", *judged]
        plane = words[(words["direction"] <= 2) & (words["place"] <= DRAWN)].drop_duplicates("word")
        placed = list(zip(plane["word"], plane["x"], plane["y"], plane["end"] == "raised", strict=True))
        held = sigmas["share"].cumsum()
        text = (
            f"Half of Σσ² lies in {int((held < 0.5).sum()) + 1} and nine tenths in {int((held < 0.9).sum()) + 1} of "
            f"{len(sigmas)} directions; the effective rank is {sigmas['effective_rank'].iloc[0]:.0f}."
        )
        scorer = study.scorers.get(block.scorer)
        yield {
            "title": f"{name}, {model}",
            "text": [text],
            "figures": [
                figure(
                    "Words in the first two directions; blue ones are raised", words_in_plane(f"{name} {model}", placed)
                ),
                figure("How rank concentrates", spectrum(f"{name} {model} σ", list(sigmas["share"]))),
            ],
            "tables": [{"caption": "Words of both ends", "head": head, "rows": rows, "words": True}],
            "toxic": scorer is not None and scorer.described.attribute == "toxicity",
            "downloads": [download(path) for path in paths],
        }


def _score(words: pd.DataFrame) -> str:
    return number(float(words["score"].iloc[0]), 2)


def evidence_of(name: str, block: Evidence, study: Study, results: Path) -> Iterator[Part]:
    """Yield texts with their tokens coloured, bars of each token, and likelihood curves."""
    for model in study.steered:
        paths = [results / "analyses" / model / f"{name}.{part}.csv" for part in ("tokens", "readings")]
        if not all(path.exists() for path in paths):
            continue
        tokens = read_csv(paths[0], ("piece",), ("text", "start", "stop", "score", "span"))
        columns = ("text", "value", "log_likelihood", "reading")
        readings = read_csv(paths[1], ("inside",), columns, gaps=("precision", "recall"))
        highlights, figures = [], []
        for number_, own in tokens.groupby("text"):
            curve = readings[readings["text"] == number_]
            require_rows(curve, paths[1])
            reading = float(curve["reading"].iloc[0])
            marked = curve["precision"].notna().iloc[0]
            highlights.append(
                {
                    "tokens": list(_tokens(own)),
                    "reading": number(reading, 1)
                    if curve["inside"].iloc[0] == "True"
                    else f"{number(reading, 1)} or beyond",
                    "found": f"precision {curve['precision'].iloc[0]:.2f}, recall {curve['recall'].iloc[0]:.2f}"
                    if marked
                    else "",
                }
            )
            label = f"{name} {model} text {number_}"
            bars = token_bars(f"{label} tokens", list(own["piece"]), list(own["score"]))
            svg = likelihood(f"{label} curve", list(curve["value"]), list(curve["log_likelihood"]), reading)
            figures += [
                figure(f"Text {number_}, each token in nats", bars),
                figure(f"Text {number_}, its style reading", svg),
            ]
        side = "the opposite value" if block.opposite else "no steer"
        text = (
            f"Blue tokens are likelier under {block.dimension} {block.value:g} than under {side}, orange ones "
            "less likely; underlined are the best spans. The style reading is the value of "
            f"{block.dimension} under which the text is likeliest."
        )
        parts = {"text": [text], "highlights": highlights, "figures": figures, "toxic": block.toxic}
        yield {"title": f"{name}, {model}", **parts, "downloads": [download(path) for path in paths]}


def _tokens(own: pd.DataFrame) -> Iterator[Part]:
    """Yield the pieces of a text with how strongly each is coloured, from -100 to 100, and whether a span holds it."""
    largest = max(own["score"].abs().max(), 1e-9)
    stop = 0
    for row in own.itertuples():
        # Tokens that are part of one character share its range: it is shown once.
        if row.stop > stop:
            depth = round(60 * row.score / largest)
            yield {"piece": row.piece, "depth": depth, "span": row.span > 0, "nats": signed(row.score, 2)}
            stop = row.stop


def cost_of(name: str, block: Cost, study: Study, results: Path) -> Iterator[Part]:
    """Yield the table of costs."""
    labels = {
        "parameters": ("Parameters", 0),
        "parameters_a_dimension": ("Parameters of a dimension, 2 · hidden · rank", 0),
        "bytes": ("Bytes on disk and in memory", 0),
        "training_seconds": ("Training, seconds", 0),
        "decode_hooked": ("Decoding time ÷ unsteered, hooked", 2),
        "decode_folded": ("Decoding time ÷ unsteered, folded", 2),
    }
    for model in study.steered:
        path = results / "analyses" / model / f"{name}.cost.csv"
        if path.exists():
            frame = read_csv(path, ("figure",), gaps=("value", "low", "high", "published"))
            lines = frame[frame["figure"].isin(labels)].to_dict("records")
            rows = [
                [
                    labels[line["figure"]][0],
                    estimate(line, labels[line["figure"]][1]),
                    "" if math.isnan(line["published"]) else number(line["published"], 2),
                ]
                for line in lines
            ]
            head = ["What", "Ours, and the range of five rounds", "As published (another model and machine)"]
            table = {"caption": f"The steer {block.steer} on {model}", "head": head, "rows": rows}
            yield {"title": f"{name}, {model}", "tables": [table], "downloads": [download(path)]}


def estimate(row: Part, digits: int) -> str:
    """Write a value with its interval, where it has one."""
    value = number(row["value"], digits)
    if math.isnan(row["low"]) or row["low"] == row["high"]:
        return value
    # No line ends inside an interval.
    joint = "\u00a0to\u00a0" if row["low"] < 0 else "–\u2060"
    return f"{value} ({number(row['low'], digits)}{joint}{number(row['high'], digits)})"


def figure(caption: str, svg: str) -> Part:
    """Return a figure as a part of the page has it."""
    return {"caption": caption, "svg": svg}


def download(path: Path) -> Part:
    """Return a file as a link of the page holds it."""
    return {"name": f"{path.parent.name}-{path.name}", "csv": base64.b64encode(harmless(path)).decode("ascii")}
