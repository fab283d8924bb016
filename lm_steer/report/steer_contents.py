"""The parts of the page on what one steer holds: its directions as words, evidence in texts, its costs.

of_steer(["words", "spectrum"], words_of, name, block, study, results)       # yields a part for each model
"""

import base64
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lm_steer.data import layout
from lm_steer.report.figures.curves import likelihood, spectrum
from lm_steer.report.figures.planes import words as words_in_plane
from lm_steer.report.figures.rows import token_bars
from lm_steer.report.wording import estimate, number, signed
from lm_steer.study.config import Study
from lm_steer.study.steer_analyses import Cost, Directions, Evidence
from lm_steer.util.formats import harmless, read_csv, require_rows

Part = dict[str, Any]
# Words of an end that are drawn: more would lie on each other.
DRAWN = 7
COSTS = {
    "parameters": ("Parameters", 0),
    "parameters_a_dimension": ("Parameters of a dimension, 2 · hidden · rank", 0),
    "bytes": ("Bytes on disk and in memory", 0),
    "training_seconds": ("Training, seconds", 0),
    "decode_hooked": ("Decoding time ÷ unsteered, hooked", 2),
    "decode_folded": ("Decoding time ÷ unsteered, folded", 2),
}


def of_steer(
    parts: Sequence[str], draw: Callable[..., Part], name: str, block: Any, study: Study, results: Path
) -> Iterator[Part]:
    """Yield for each model for which all files of an analysis are there what `draw` makes of them."""
    for model in study.steered:
        paths = [layout.analysis_part(results, model, name, part) for part in parts]
        if all(path.exists() for path in paths):
            part = draw(block, study, f"{name} {model}", *paths)
            yield {"title": f"{name}, {model}", **part, "downloads": [download(path) for path in paths]}


def words_of(block: Directions, study: Study, name: str, words_path: Path, spectrum_path: Path) -> Part:
    """Return word lists of both ends, words in the plane of the first two directions, how rank concentrates."""
    words = read_csv(words_path, ("end", "word"), ("direction", "place", "share", "x", "y"), gaps=("score",))
    sigmas = read_csv(spectrum_path, numbers=("share", "effective_rank"))
    require_rows(words, words_path)
    require_rows(sigmas, spectrum_path)
    rows = []
    for direction, lines in words.groupby("direction"):
        row = [str(direction), f"{100 * lines['share'].iloc[0]:.1f}"]
        for end in ("raised", "lowered"):
            own = lines[lines["end"] == end]
            row += [", ".join(own["word"])] + [number(own["score"].iloc[0], 2)] * bool(block.scorer)
        rows.append(row)
    judged = [f"{block.scorer} of these"] * bool(block.scorer)
    head = ["Direction", "Share, %", f"{block.dimension} + raises", *judged, f"{block.dimension} + lowers", *judged]
    plane = words[(words["direction"] <= 2) & (words["place"] <= DRAWN)].drop_duplicates("word")
    placed = list(zip(plane["word"], plane["x"], plane["y"], plane["end"] == "raised", strict=True))
    held = sigmas["share"].cumsum()
    text = (
        f"Half of Σσ² lies in {int((held < 0.5).sum()) + 1} and nine tenths in {int((held < 0.9).sum()) + 1} of "
        f"{len(sigmas)} directions; the effective rank is {sigmas['effective_rank'].iloc[0]:.0f}."
    )
    return {
        "text": [text],
        "figures": [
            ("Words in the first two directions; blue ones are raised", words_in_plane(name, placed)),
            ("How rank concentrates", spectrum(f"{name} σ", sigmas["share"])),
        ],
        "tables": [{"caption": "Words of both ends", "head": head, "rows": rows, "words": True}],
        "toxic": bool(block.scorer) and study.scorers[block.scorer].yields == "toxicity",
    }


def evidence_of(block: Evidence, study: Study, name: str, tokens_path: Path, readings_path: Path) -> Part:
    """Return texts with their tokens coloured, bars of each token, and likelihood curves."""
    side = "the opposite value" if block.opposite else "no steer"
    text = (
        f"Blue tokens are likelier under {block.dimension} {block.value:g} than under {side}, orange ones "
        "less likely; underlined are the best spans. The style reading is the value of "
        f"{block.dimension} under which the text is likeliest."
    )
    tokens = read_csv(tokens_path, ("piece",), ("text", "start", "stop", "score", "span"))
    columns = ("text", "value", "log_likelihood", "reading")
    readings = read_csv(readings_path, ("inside",), columns, gaps=("precision", "recall"))
    highlights, figures = [], []
    for place, own in tokens.groupby("text"):
        curve = readings[readings["text"] == place]
        require_rows(curve, readings_path)
        top = curve.iloc[0]
        beyond = "" if top["inside"] == "True" else " or beyond"
        agreed = f"precision {top['precision']:.2f}, recall {top['recall']:.2f}"
        highlights.append(
            {
                "tokens": list(_tokens(own)),
                "reading": f"{number(top['reading'], 1)}{beyond}",
                "found": "" if math.isnan(top["precision"]) else agreed,
            }
        )
        bars = token_bars(f"{name} text {place} tokens", own["piece"], own["score"])
        svg = likelihood(f"{name} text {place} curve", curve["value"], curve["log_likelihood"], top["reading"])
        figures += [(f"Text {place}, each token in nats", bars), (f"Text {place}, its style reading", svg)]
    return {"text": [text], "highlights": highlights, "figures": figures, "toxic": block.toxic}


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


def cost_of(block: Cost, study: Study, name: str, path: Path) -> Part:
    """Return the table of costs."""
    frame = read_csv(path, ("figure",), gaps=("value", "low", "high", "published"))
    rows = []
    for line in frame[frame["figure"].isin(COSTS)].to_dict("records"):
        label, digits = COSTS[line["figure"]]
        published = "" if math.isnan(line["published"]) else number(line["published"], 2)
        rows.append([label, estimate(line, digits), published])
    head = ["What", "Ours, and the range of five rounds", "As published (another model and machine)"]
    return {"tables": [{"caption": f"The steer {block.steer} on {path.parent.name}", "head": head, "rows": rows}]}


def download(path: Path) -> Part:
    """Return a file as a link of the page holds it."""
    return {"name": f"{path.parent.name}-{path.name}", "csv": base64.b64encode(harmless(path)).decode("ascii")}
