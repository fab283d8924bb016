from lm_steer.report.families import families
from lm_steer.study.config import expanded
from lm_steer.study.settings import OtherSampling


def with_values(study_of, values: dict[str, dict[str, float]]):
    """A study with settings on the rude prompts, each with its values of the steer detox."""
    mild = study_of().settings["mild-rude"].model_dump(exclude_none=True)
    return study_of(settings={name: {**mild, "steer": {"detox": given}} for name, given in values.items()})


def test_settings_that_differ_in_one_value_are_a_family(study_of):
    values = {"two": {"detox": 2, "corpus": 1}, "nine": {"detox": 9, "corpus": 1}, "alone": {"detox": 3}}
    (family,) = families(with_values(study_of, values))
    assert family.settings == {2: "two", 5: "mild-rude", 9: "nine"}
    assert family.title == "detox from +2 to +9" and family.name == "detox-detox-rude-corpus1"


def test_the_unsteered_setting_stands_at_0_where_all_else_is_at_0(study_of):
    (family,) = families(with_values(study_of, {"low": {"detox": -0.5}, "high": {"detox": 4}}))
    assert family.settings == {-0.5: "low", 0: "plain-rude", 4: "high"}
    assert family.unsteered == "plain-rude" and family.title == "detox from −0.5 to +4, corpus 0"


def test_two_values_or_other_sampling_are_no_family(study_of):
    values = {"two": {"detox": 2, "corpus": 1}}
    assert families(with_values(study_of, values)) == []
    values["nine"] = {"detox": 9, "corpus": 1}
    study = with_values(study_of, values)
    assert families(study) != []
    apart = study.settings["nine"].model_copy(update={"sampling": OtherSampling(top_k=50)})
    assert families(study.model_copy(update={"settings": {**study.settings, "nine": apart}})) == []


def test_a_sweep_joins_the_family_of_the_study_and_other_analyses_do_not(study_of):
    common = {"steer": "detox", "prompts": "rude", "scorers": ["toxicity", "perplexity"]}
    sweep = {**common, "dimension": "detox", "values": [0, 1], "held": {"corpus": 1}}
    ablation = {**common, "values": {"detox": 2, "corpus": 1}, "vary": {"steps": [9]}}
    study = study_of(analyses={"sweeps": {"dial": sweep}, "ablations": {"steps": ablation}})
    (family,) = families(expanded(study.written, ["sweeps"])[0])
    assert list(family.settings) == [0, 1, 5] and family.settings[5] == "mild-rude"
