# What a training is given. No rules.


def training_texts(wildcards):
    dataset = STUDY["steers"][wildcards.steer]["dataset"]
    return {split: f"results/data/{dataset}/{split}.parquet" for split in ("train", "dev")}


def training_options(wildcards):
    steer = STUDY["steers"][wildcards.steer]
    numbers = ["rank", "epsilon", "steps", "batch_size", "learning_rate", "regularization", "max_length"]
    padding = ["--loss-on-padding"] if steer["loss_on_padding"] else []
    dtype = options(STUDY["models"][wildcards.model], ["dtype"])
    subset = ["--count", str(steer["texts"])] if steer["texts"] else []
    scale = options(steer, ["label_scale"] if steer["label_scale"] != 1 else [])
    return [
        *dtype,
        "--dimensions",
        ",".join(steer["dimensions"]),
        *options(steer, ["kind", *numbers]),
        *padding,
        *subset,
        *scale,
    ]
