"""What a study produces: the names that rules run for, and the files of each stage.

text_files(study)             # ["results/generations/smollm2/seed0/unsteered.jsonl", …]
"""

from collections.abc import Iterable
from itertools import product
from typing import Any

from lm_steer.data import layout
from lm_steer.data.labelled import SPLITS
from lm_steer.data.layout import EXTERNAL, STEER_FILES
from lm_steer.study.config import EFFECT_KINDS, Study

# Where the workflow runs.
RESULTS = "results"
STUDY_FILE = f"{RESULTS}/study.json"
# The files of analyses that are made for each model.
PARTS = {"directions": ("words", "spectrum"), "evidence": ("tokens", "readings"), "costs": ("cost",)}


def elsewhere(study: Study) -> list[str]:
    """Return the settings that were generated elsewhere."""
    return [name for name, setting in study.settings.items() if setting.generations]


def apart(study: Study) -> list[str]:
    """Return the settings that only some models have, or that use an adapter: each has its own job."""
    return [name for name, setting in study.settings.items() if setting.models is not None]


def together(study: Study, further: bool = False) -> list[str]:
    """Return the settings that one job generates for a model and the first seed, or a further one."""
    names = [name for name in study.settings if name not in {*elsewhere(study), *apart(study)}]
    return [name for name in names if not further or len(study.seeds_of(name)) > 1]


def writers(study: Study) -> list[str]:
    """Return the models that generate: those that are steered, and the targets of transfers."""
    more = (model for name in apart(study) for model in study.settings[name].models or ())
    return list(dict.fromkeys([*study.steered, *more]))


def steers(study: Study, carried_over: bool = False) -> list[str]:
    """Return the steers that are trained, or those that are transferred from another model's."""
    return [name for name, steer in study.steers.items() if (steer.transfer is not None) == carried_over]


def scorers(study: Study, kind: str) -> list[str]:
    """Return the scorers of a kind."""
    return [name for name, scorer in study.scorers.items() if scorer.kind == kind]


def scorers_that(study: Study, trait: str) -> list[str]:
    """Return the scorers that are `online`, `by_model` or `of_model` (score/registry.py)."""
    return [name for name, scorer in study.scorers.items() if getattr(scorer, trait)]


def analyses(study: Study, *kinds: str) -> list[str]:
    """Return the names of the analyses of these kinds."""
    return [name for kind in kinds for name in getattr(study.analyses, kind)]


def analysis(study: Study, name: str) -> tuple[str, Any]:
    """Return the kind of an analysis, and its block."""
    return next((kind, blocks[name]) for kind, blocks in study.analyses if name in blocks)


def _settings_of(study: Study, model: str) -> list[str]:
    if model == EXTERNAL:
        return elsewhere(study)
    everywhere = together(study) if model in study.steered else []
    return [*everywhere, *(name for name in apart(study) if model in (study.settings[name].models or ()))]


def generations_of(study: Study, models: Iterable[str], settings: Iterable[str]) -> list[str]:
    """Return the generations of models in those of `settings` that they have, for all their seeds."""
    settings, files = set(settings), []
    for model in models:
        names = [name for name in _settings_of(study, model) if name in settings]
        for seed in [0] if model == EXTERNAL else study.seeds:
            files += [layout.generations(RESULTS, model, seed, name) for name in names if seed in study.seeds_of(name)]
    return files


def scores_of(study: Study, settings: Iterable[str], scorers: Iterable[str]) -> list[str]:
    """Return the scores of all models in `settings` by `scorers`."""
    settings = set(settings)
    return [
        layout.scores(RESULTS, model, scorer)
        for model, scorer in product([*writers(study), EXTERNAL], scorers)
        if any(name in settings and scorer in study.settings[name].scorers for name in _settings_of(study, model))
    ]


def data_files(study: Study) -> list[str]:
    """Return the inputs of a study: models, labelled texts, prompts."""
    return [
        *(layout.model(RESULTS, model) for model in [*study.models_used, *scorers(study, "classifier")]),
        *(layout.texts(RESULTS, dataset, split) for dataset, split in product(study.datasets, SPLITS)),
        *(layout.prompts(RESULTS, prompts) for prompts in study.prompts),
    ]


def trained_files(study: Study) -> list[str]:
    """Return the files of all steers that are trained."""
    trained = [(name, seed) for name in steers(study) for seed in study.seeds_of_steer(name)]
    folders = [layout.steer(RESULTS, model, *each) for model, each in product(study.steered, trained)]
    return [file for folder in folders for file in layout.steer_files(folder, STEER_FILES)]


def text_files(study: Study) -> list[str]:
    """Return all generations."""
    return generations_of(study, [*writers(study), EXTERNAL], study.settings)


def score_files(study: Study) -> list[str]:
    """Return all scores, and the judges that the study trains."""
    judges = [layout.judge(RESULTS, name) for name in scorers(study, "bag-of-words")]
    return [*judges, *scores_of(study, study.settings, study.scorers)]


def table_files(study: Study) -> list[str]:
    """Return all tables."""
    agreements = (layout.agreement_table(RESULTS, name) for name in study.agreement)
    return [*(layout.table(RESULTS, name) for name in study.tables), *agreements]


def analysis_files(study: Study) -> list[str]:
    """Return the results of all analyses."""
    by_model = [
        layout.analysis_part(RESULTS, model, name, part)
        for kind, parts in PARTS.items()
        for model, name, part in product(study.steered, analyses(study, kind), parts)
    ]
    return [*(layout.analysis(RESULTS, name) for name in analyses(study, *EFFECT_KINDS)), *by_model]


def page_files(study: Study) -> list[str]:
    """Return the files that the page shows, except the record of the run."""
    stages = (table_files, text_files, score_files, trained_files, analysis_files)
    return [
        *(file for stage in stages for file in stage(study)),
        *(layout.model(RESULTS, model) for model in study.models_used),
        *(layout.counts(RESULTS, dataset) for dataset in study.datasets),
        *(layout.agreement_scores(RESULTS, agreement) for agreement in study.agreement),
    ]
