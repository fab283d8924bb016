"""The parts of the page about a single steer: its directions as words, evidence in texts, its costs.

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
# Words drawn per end: more would overlap.
DRAWN = 7
COSTS = {
    "parameters": ("Parameters", 0),
    "parameters_a_dimension": ("Parameters per dimension, 2 · hidden · rank", 0),
    "bytes": ("Bytes on disk and in memory", 0),
    "training_seconds": ("Training, seconds", 0),
    "decode_hooked": ("Decoding time ÷ unsteered, hooked", 2),
    "decode_folded": ("Decoding time ÷ unsteered, folded", 2),
}


def of_steer(
    parts: Sequence[str], draw: Callable[..., Part], name: str, block: Any, study: Study, results: Path
) -> Iterator[Part]:
    """Yield the part that `draw` makes for each model that has all files of an analysis."""
    for model in study.steered:
        paths = [layout.analysis_part(results, model, name, part) for part in parts]
        if all(path.exists() for path in paths):
            part = draw(block, study, f"{name} {model}", *paths)
            yield {"title": f"{name}, {model}", **part, "downloads": [download(path) for path in paths]}


def words_of(block: Directions, study: Study, name: str, words_path: Path, spectrum_path: Path) -> Part:
    """Return word lists of both ends, words in the plane of the first two directions, and the concentration of rank."""
    words = read_csv(words_path, ("end", "word"), ("direction", "place", "share", "x", "y"), gaps=("score",))
    sigmas = read_csv(spectrum_path, numbers=("share", "effective_rank"))
    require_rows(words, words_path)
    require_rows(sigmas, spectrum_path)
    rows = []
    for direction, lines in words.groupby("direction"):
        row = [str(direction), f"{100 * lines['share'].iloc[0]:.1f}"]
        for end in ("raised", "lowered"):
            at_end = lines[lines["end"] == end]
            row += [", ".join(at_end["word"])] + [number(at_end["score"].iloc[0], 2)] * bool(block.scorer)
        rows.append(row)
    score = [f"{block.scorer} score"] * bool(block.scorer)
    head = ["Direction", "Share, %", f"{block.dimension} + raises", *score, f"{block.dimension} + lowers", *score]
    plane = words[(words["direction"] <= 2) & (words["place"] <= DRAWN)].drop_duplicates("word")
    placed = list(zip(plane["word"], plane["x"], plane["y"], plane["end"] == "raised", strict=True))
    total = sigmas["share"].cumsum()
    text = (
        f"Half of Σσ² lies in {int((total < 0.5).sum()) + 1} and nine tenths in {int((total < 0.9).sum()) + 1} of "
        f"{len(sigmas)} directions; the effective rank is {sigmas['effective_rank'].iloc[0]:.0f}."
    )
    return {
        "text": [text],
        "figures": [
            ("Words in the first two directions; blue words are raised", words_in_plane(name, placed)),
            ("Concentration of rank", spectrum(f"{name} σ", sigmas["share"])),
        ],
        "tables": [{"caption": "Words at both ends", "head": head, "rows": rows, "words": True}],
        "toxic": bool(block.scorer) and study.scorers[block.scorer].yields == "toxicity",
    }


def evidence_of(block: Evidence, study: Study, name: str, tokens_path: Path, readings_path: Path) -> Part:
    """Return texts with coloured tokens, a bar per token, and likelihood curves."""
    side = "the opposite value" if block.opposite else "no steer"
    text = (
        f"Blue tokens are more likely under {block.dimension} {block.value:g} than under {side}, orange ones "
        "less likely; the best spans are underlined. The style reading is the value of "
        f"{block.dimension} at which the text is most likely."
    )
    tokens = read_csv(tokens_path, ("piece",), ("text", "start", "stop", "score", "span"))
    columns = ("text", "value", "log_likelihood", "reading")
    readings = read_csv(readings_path, ("inside",), columns, gaps=("precision", "recall"))
    highlights, figures = [], []
    for place, of_text in tokens.groupby("text"):
        curve = readings[readings["text"] == place]
        require_rows(curve, readings_path)
        top = curve.iloc[0]
        beyond = "" if top["inside"] == "True" else " or beyond"
        agreement = f"precision {top['precision']:.2f}, recall {top['recall']:.2f}"
        highlights.append(
            {
                "tokens": list(_tokens(of_text)),
                "reading": f"{number(top['reading'], 1)}{beyond}",
                "agreement": "" if math.isnan(top["precision"]) else agreement,
            }
        )
        bars = token_bars(f"{name} text {place} tokens", of_text["piece"], of_text["score"])
        svg = likelihood(f"{name} text {place} curve", curve["value"], curve["log_likelihood"], top["reading"])
        figures += [(f"Text {place}, each token in nats", bars), (f"Text {place}, its style reading", svg)]
    return {"text": [text], "highlights": highlights, "figures": figures, "toxic": block.toxic}


def _tokens(tokens: pd.DataFrame) -> Iterator[Part]:
    """Yield the pieces of a text, each with its depth of colour (−60 to 60 %) and whether it is within a span."""
    largest = max(tokens["score"].abs().max(), 1e-9)
    stop = 0
    for row in tokens.itertuples():
        # Tokens that share one character have the same range, which is shown once.
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
    head = ["Cost", "Ours, and the range of five rounds", "As published (another model and machine)"]
    return {"tables": [{"caption": f"The steer {block.steer} on {path.parent.name}", "head": head, "rows": rows}]}


def download(path: Path) -> Part:
    """Return a file's name and content in base64, for a download link."""
    return {"name": f"{path.parent.name}-{path.name}", "csv": base64.b64encode(harmless(path)).decode("ascii")}
