"""Run by the Python of llama.cpp's environment; imports nothing of this package.

    python llamacpp_driver.py lora base.gguf adapter_model.safetensors adapter.gguf
    python llamacpp_driver.py probe request.json answer.json

`probe` answers {"model": GGUF, "lora": GGUF or "", "prompts": [[id]], "new_tokens": [count], "vocabulary": size or 0}
by the greedy continuation of each prompt and, unless the vocabulary is 0, the log-probabilities of its first token,
(prompts, vocabulary), None where they are -∞.
"""

import json
import sys
from pathlib import Path
from typing import Any


def write_lora(base: str, adapter: str, output: str) -> None:
    """Write a LoRA of the head, which PEFT saved, as a GGUF for the model in `base`."""
    import gguf
    from safetensors.numpy import load_file

    architecture = gguf.GGUFReader(base).fields["general.architecture"].contents()
    weights = load_file(adapter)
    down, up = (next(value for name, value in weights.items() if f"lora_{side}" in name) for side in "AB")
    writer = gguf.GGUFWriter(output, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(len(down)))
    writer.add_tensor("output.weight.lora_a", down.astype("float32"))
    writer.add_tensor("output.weight.lora_b", up.astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def probe(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the greedy tokens and the first log-probabilities of each prompt."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = request["model"]
    settings.n_ctx, settings.n_gpu_layers, settings.warmup, settings.verbosity = 256, 0, False, 0
    # To compare the model alone, the KV cache is not rounded, and no flash attention casts keys and values to f16.
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if request["lora"]:
        adapter = xllamacpp.CommonAdapterLoraInfo(request["lora"], 1.0)
        settings.lora_adapters = [adapter]
    server = xllamacpp.Server(settings)
    answers = []
    for prompt, count in zip(request["prompts"], request["new_tokens"], strict=True):
        options = {"prompt": prompt, "n_predict": count, "temperature": 0, "ignore_eos": True}
        answer = server.handle_completions({**options, "n_probs": request["vocabulary"] or 1})
        if "choices" not in answer:
            raise SystemExit(f"llama.cpp answers {answer}")
        # A token that is part of a character comes without its log-probabilities.
        tokens = (answer["choices"][0]["logprobs"] or {"content": []})["content"]
        first: list[float | None] = [None] * request["vocabulary"]
        for token in tokens[0]["top_logprobs"] if first and tokens else ():
            # The least float stands for -∞.
            first[token["id"]] = token["logprob"] if token["logprob"] > -1e30 else None
        answers.append({"ids": [token["id"] for token in tokens], "logprobs": first})
    return answers


if __name__ == "__main__":
    if sys.argv[1] == "lora":
        write_lora(*sys.argv[2:])
    else:
        answers = probe(json.loads(Path(sys.argv[2]).read_text()))
        Path(sys.argv[3]).write_text(json.dumps(answers))
