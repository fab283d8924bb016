# The files of each stage: what the targets `data`, `steers`, `texts`, … and the page are made of. No rules.
from lm_steer.analyse.expand import EFFECT_KINDS

DATA = [
    *expand("results/models/{model}", model=[*MODELS_USED, *CLASSIFIERS]),
    *expand("results/data/{dataset}/{split}.parquet", dataset=STUDY["datasets"], split=SPLITS),
    *expand("results/prompts/{prompts}.jsonl", prompts=STUDY["prompts"]),
]
STEERS = expand(
    "results/steers/{model}/{steer}/seed{seed}/{file}",
    model=MODELS,
    steer=TRAINED,
    seed=SEEDS,
    file=STEER_FILES,
)
TEXTS = [path for model in [*WRITERS, EXTERNAL] for path in generation_files(model, STUDY["settings"])]
SCORES = [
    *expand("results/judges/{scorer}", scorer=JUDGES),
    *score_files(STUDY["settings"], STUDY["scorers"]),
]
TABLES = [
    *expand("results/tables/{table}.csv", table=STUDY["tables"]),
    *expand("results/tables/agreement-{agreement}.csv", agreement=STUDY["agreement"]),
]
# Which analyses there are, by what makes them: `effects` are made of scores, the others of models and steers.
OF_KIND = STUDY["analyses"]
EFFECTS = [name for kind in EFFECT_KINDS for name in OF_KIND[kind]]
ANALYSES = [
    *expand("results/analyses/{analysis}.csv", analysis=EFFECTS),
    *expand(
        "results/analyses/{model}/{analysis}.{part}.csv",
        model=MODELS,
        analysis=OF_KIND["directions"],
        part=["words", "spectrum"],
    ),
    *expand(
        "results/analyses/{model}/{analysis}.{part}.csv",
        model=MODELS,
        analysis=OF_KIND["evidence"],
        part=["tokens", "readings"],
    ),
    *expand("results/analyses/{model}/{analysis}.cost.csv", model=MODELS, analysis=OF_KIND["costs"]),
]
STUDY_FILE = "results/study.json"
PAGE = "reports/index.html"
FIGURES = "results/figures"
