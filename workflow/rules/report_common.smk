# What tables are given, and the study beside its results. No rules. JSON reaches a command on its standard input (`<<<`),
# for Linux limits an argument to 128 KiB.
import json


def table_settings(wildcards):
    """The settings a table shows, and those that its differences are taken to."""
    shown = [name for names in STUDY["tables"][wildcards.table]["rows"].values() for name in names]
    against = [STUDY["settings"][name]["against"] for name in shown]
    return list(dict.fromkeys(name for name in [*shown, *against] if name))


def table_scorers(wildcards):
    """The scorers a table shows: those it names, or all of its settings'."""
    chosen = STUDY["tables"][wildcards.table]["scorers"]
    used = {name for setting in table_settings(wildcards) for name in STUDY["settings"][setting]["scorers"]}
    return [name for name in STUDY["scorers"] if name in used and (name in chosen or not chosen)]


def table_input(wildcards):
    settings = table_settings(wildcards)
    return {
        "generations": [path for model in [*WRITERS, EXTERNAL] for path in generation_files(model, settings)],
        "scores": score_files(settings, table_scorers(wildcards)),
    }


def table_spec(wildcards):
    settings = {name: with_models(name) for name in table_settings(wildcards)}
    return json.dumps(
        {
            "rows": STUDY["tables"][wildcards.table]["rows"],
            "published": STUDY["tables"][wildcards.table]["published"],
            "settings": settings,
            "scorers": {name: STUDY["scorers"][name] for name in table_scorers(wildcards)},
            "models": WRITERS,
            "seeds": SEEDS,
        }
    )


def whole_study(wildcards):
    """A function, for a study may hold braces (`LM-Steer {model}`), which are no wildcards."""
    return json.dumps(STUDY)
