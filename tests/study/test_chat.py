"""A chat model, several labels and pairs in a study."""

import pytest
from miniature import study_of

from lm_steer import LMSteerError
from lm_steer.study import plan
from lm_steer.study.config import resolved

REVIEWS = {"source": "file", "path": "reviews.jsonl", "labels": ["warmth", "length"]}


def config(**changes):
    chat = {"source": "file", "path": "questions.jsonl", "chat": True}
    both = {"dataset": "reviews", "dimensions": ["warmth", "length", "corpus"], "chat": True, "steps": 2}
    asked = {"prompts": "questions", "scorers": [], "system": "Be warm."}
    return study_of(
        {
            "datasets": {"reviews": REVIEWS},
            "steers": {"both": both | changes.get("steer", {})},
            "prompts": {"questions": chat | changes.get("prompts", {})},
            "settings": {"told": asked, "asked": {"prompts": "questions", "scorers": []}},
        }
    )


def test_rules_are_given_labels_template_and_system_message():
    study = resolved(config())
    options = plan.train(study, study.steered[0], "both").options
    assert options[options.index("--label-column") + 1] == "warmth,length" and "--chat" in options
    assert "--chat" in plan.prompts(study, "questions").options
    jobs = {job["output"]: job for job in plan.generate(study, study.steered[0], "0").part}
    systems = {output.rsplit("/", 1)[1]: job["system"] for output, job in jobs.items()}
    assert systems["told.jsonl"] == "Be warm." and systems["asked.jsonl"] == ""


def test_one_of_several_labels_is_learned_by_its_name():
    study = resolved(config(steer={"dimensions": ["length", "corpus"]}))
    options = plan.train(study, study.steered[0], "both").options
    assert options[options.index("--label-column") + 1] == "length"


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"steer": {"dimensions": ["warmth", "lenght"]}},
            r"there is no label of reviews .lenght. \(did you mean 'length'",
        ),
        ({"steer": {"dimensions": ["corpus"]}}, "expected a dimension for the label"),
        (
            {"prompts": {"chat": False}},
            "a system message is for chat prompts: set 'chat: true' for the prompts 'questions'",
        ),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    with pytest.raises(LMSteerError, match=message):
        resolved(config(**changes))
