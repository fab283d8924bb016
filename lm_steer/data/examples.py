"""Convert examples from the usual shapes of data sets to the columns text and, if they have prompts, prompt.

    examples(read_frame("preferences.jsonl"), "preferences.jsonl")

columns                       text                           prompt
text                          the text                       none, or the column prompt
completion, prompt            the completion                 the prompt
messages                      the last message               the messages before it
chosen, rejected [, prompt]   each, labelled 1 and -1        the prompt, or the messages before

A prompt or answer is a text or, as in TRL, a list of messages; messages become JSON (util/messages.py).
"""

from typing import Any

import pandas as pd

from lm_steer.util.errors import LMSteerError
from lm_steer.util.messages import as_text, is_messages

SIDES = {"chosen": 1.0, "rejected": -1.0}


def examples(frame: pd.DataFrame, origin: str, text: str = "text") -> pd.DataFrame:
    """Return `frame` with the columns text, taken from the column `text`, and prompt; a pair becomes two rows.

    Raises LMSteerError naming the row of a pair with equal sides, or of messages that do not end in an answer.
    """
    if text in frame:
        frame = frame.assign(text=frame[text])
        return _with_prompts(frame, origin) if "prompt" in frame else frame
    if {*SIDES} <= {*frame.columns}:
        return _pairs(frame, origin)
    if source := next((name for name in ("completion", "messages") if name in frame), None):
        return _with_prompts(frame.assign(text=frame[source]), origin, only_messages=source == "messages")
    return frame


def _pairs(frame: pd.DataFrame, origin: str) -> pd.DataFrame:
    # Checked while a row is still a row of the file.
    for side in SIDES:
        for number, answer in enumerate(frame[side], start=1):
            if not (is_messages(_listed(answer)) or (isinstance(answer, str) and answer.strip())):
                raise LMSteerError(f"{origin}, row {number}: expected text as {side}, found {answer!r:.80}")
    sides = [_with_prompts(frame.assign(text=frame[side], label=label), origin) for side, label in SIDES.items()]
    equal = (sides[0]["prompt"] == sides[1]["prompt"]) & (sides[0]["text"] == sides[1]["text"])
    if equal.any():
        raise LMSteerError(
            f"{origin}, row {int(equal.to_numpy().argmax()) + 1}: chosen and rejected are the same: leave the pair out"
        )
    # Keep both sides of a pair together.
    return pd.concat(sides).sort_index(kind="stable").reset_index(drop=True)


def _with_prompts(frame: pd.DataFrame, origin: str, only_messages: bool = False) -> pd.DataFrame:
    """Return the frame with prompt and text as texts; messages before an answer are its prompt."""
    for number, text in enumerate(frame["text"] if only_messages else (), start=1):
        if not is_messages(_listed(text)):
            raise LMSteerError(f"{origin}, row {number}: expected messages with role and content, found {text!r:.80}")
    prompts = frame["prompt"] if "prompt" in frame else [""] * len(frame)
    rows = [
        _prompt_and_text(_listed(prompt), _listed(text), f"{origin}, row {number}")
        for number, (prompt, text) in enumerate(zip(prompts, frame["text"], strict=True), start=1)
    ]
    return frame.assign(prompt=[prompt for prompt, _ in rows], text=[text for _, text in rows])


def _listed(value: Any) -> Any:
    """Return a list that parquet has read as an array."""
    return value.tolist() if hasattr(value, "tolist") else value


def _prompt_and_text(prompt: Any, text: Any, place: str) -> tuple[str, Any]:
    before: list[dict[str, str]] = []
    if is_messages(text):
        *before, last = text
        if last["role"] != "assistant":
            raise LMSteerError(f"{place}: expected a last message of 'assistant', found one of '{last['role']}'")
        text = last["content"]
    if is_messages(prompt):
        return as_text([*prompt, *before]), text
    if prompt is None or prompt != prompt:
        prompt = ""
    if prompt and before:
        raise LMSteerError(f"{place}: the messages have a prompt besides the prompt {prompt!r:.80}: leave one out")
    if not isinstance(prompt, str):
        raise LMSteerError(f"{place}: expected the prompt as a text or a list of messages, found {prompt!r:.80}")
    return as_text(before) if before else prompt, text
