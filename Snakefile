# The entry: `snakemake --cores all` runs the study of config/config.yaml, or of --configfile.
include: "workflow/Snakefile"


# An include alone sets no default target.
rule default:
    default_target: True
    input:
        rules.all.input,
