import copy

from lm_steer.report.families import families, with_sweeps


def with_values(study: dict, values: dict[str, dict[str, float]]) -> dict:
    """Add settings on the rude prompts, each with its values of the steer detox."""
    for name, given in values.items():
        study["settings"][name] = copy.deepcopy(study["settings"]["mild-rude"])
        study["settings"][name]["steer"] = {"detox": given}
    return study


def test_settings_that_differ_in_one_value_are_a_family(study_of):
    values = {"two": {"detox": 2, "corpus": 1}, "nine": {"detox": 9, "corpus": 1}, "alone": {"detox": 3}}
    (family,) = families(with_values(study_of(), values))
    assert family.settings == {2: "two", 5: "mild-rude", 9: "nine"}
    assert family.title == "detox from 2 to 9, corpus at 1" and family.name == "detox-detox-rude-corpus1"
    assert family.steered == ["two", "mild-rude", "nine"]


def test_the_unsteered_setting_stands_at_0_where_all_else_is_at_0(study_of):
    (family,) = families(with_values(study_of(), {"low": {"detox": -0.5}, "high": {"detox": 4}}))
    assert family.settings == {-0.5: "low", 0: "plain-rude", 4: "high"}
    assert family.steered == ["low", "high"] and "−0.5" in family.title


def test_two_values_or_other_sampling_are_no_family(study_of):
    study = with_values(study_of(), {"two": {"detox": 2, "corpus": 1}})
    assert families(study) == []
    study = with_values(study, {"nine": {"detox": 9, "corpus": 1}})
    study["settings"]["nine"]["sampling"] = {"top_k": 50}
    assert families(study) == []


def test_a_sweep_joins_the_family_of_the_study_and_other_analyses_do_not(study_of):
    study = with_values(study_of(), {name: {"detox": at, "corpus": 1} for at, name in enumerate("abc")})
    study["settings"]["a"]["analysis"] = study["settings"]["b"]["analysis"] = "sweeps.dial"
    study["settings"]["c"]["analysis"] = "ablations.steps"
    (family,) = families(with_sweeps(study))
    assert family.settings == {0: "a", 1: "b", 5: "mild-rude"}
