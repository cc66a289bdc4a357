"""Small random models and their logits by transformers, for crates/parsimon-model/tests/data/families.

    python -m venv venv && venv/bin/pip install torch transformers
    venv/bin/python tools/goldens/hf_families.py crates/parsimon-model/tests/data/families

Every folder holds config.json, weights in bf16, and expected.safetensors: `short` (11 tokens) and `long` (40 tokens) `.ids` and `.logits`,
`greedy.ids` (8 steps after `short`), `inv_freq` and `rope_attention_scaling` as used for 40 tokens. Arithmetic is f32, attention eager,
without a cache: every step computes the whole sequence, with a rotary table of its own length.
"""

import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

BASE = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=64,
    max_position_embeddings=64,
    rms_norm_eps=1e-5,
    bos_token_id=1,
    eos_token_id=2,
    tie_word_embeddings=False,
)
GEMMA2 = dict(
    model_type="gemma2",
    head_dim=16,
    hidden_activation="gelu_pytorch_tanh",
    rms_norm_eps=1e-6,
    tie_word_embeddings=True,
    query_pre_attn_scalar=24,
    sliding_window=8,
    attn_logit_softcapping=4.0,
    final_logit_softcapping=3.0,
    pad_token_id=0,
)
QWEN2_SLIDING = dict(
    model_type="qwen2",
    num_hidden_layers=3,
    sliding_window=8,
    use_sliding_window=True,
    max_window_layers=1,
    tie_word_embeddings=True,
    rope_theta=1000000.0,
)
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 100.0}
PARTIAL_LONGROPE = dict(
    model_type="phi3",
    num_attention_heads=2,
    partial_rotary_factor=0.5,
    original_max_position_embeddings=16,
    sliding_window=12,
    pad_token_id=0,
    rope_scaling={
        "type": "longrope",
        "short_factor": [1.1, 1.3, 1.2, 1.5],
        "long_factor": [1.3, 2.1, 3.4, 5.5],
    },
)
CASES = {
    "gemma2": GEMMA2,
    "qwen2_sliding": QWEN2_SLIDING,
    "llama_biases_sharded": dict(model_type="llama", attention_bias=True, mlp_bias=True),
    "llama_linear": dict(model_type="llama", rope_scaling={"type": "linear", "factor": 2.5}),
    "llama_dynamic": dict(
        model_type="llama", max_position_embeddings=16, rope_scaling={"rope_type": "dynamic", "factor": 3.0}
    ),
    "llama_yarn": dict(model_type="llama", rope_parameters=YARN),
    "qwen3_yarn_mscale": dict(
        model_type="qwen3",
        head_dim=16,
        attention_bias=True,
        rope_parameters=YARN | {"mscale": 0.8, "mscale_all_dim": 0.5, "beta_fast": 4, "beta_slow": 0.5, "truncate": False},
    ),
    "phi3_partial_longrope": PARTIAL_LONGROPE,
}


def spread(model, generator):
    """Weights of a size that makes attention and gates matter, representable in bf16."""
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if name.endswith("norm.weight"):
            # Some families multiply with the weight, others with one plus the weight.
            offset = 0.0 if "gemma" in model.config.model_type else 1.0
            values = offset + 0.2 * values
        elif name.endswith("bias"):
            values = 0.5 * values
        elif "embed_tokens" in name:
            values = 0.7 * values
        else:
            values = 1.4 * values / parameter.shape[-1] ** 0.5
        parameter.data = values.bfloat16().float()


def run(model, config, ids):
    # Dynamic tables remember the longest sequence; a new one knows its own alone.
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].float()


def expected(model, config, generator):
    ids = lambda n: torch.randint(3, config.vocab_size, (n,), generator=generator).tolist()
    tensors = {}
    for name, n in [("short", 11), ("long", 40)]:
        prompt = ids(n)
        tensors[f"{name}.ids"] = torch.tensor(prompt)
        tensors[f"{name}.logits"] = run(model, config, prompt).contiguous()
        if name == "short":
            greedy = list(prompt)
            for _ in range(8):
                greedy.append(int(run(model, config, greedy)[-1].argmax()))
            tensors["greedy.ids"] = torch.tensor(greedy)
    rotary = model.model.rotary_emb
    tensors["inv_freq"] = rotary.inv_freq.float().clone().contiguous()
    tensors["rope_attention_scaling"] = torch.tensor([float(rotary.attention_scaling)])
    return tensors


def save_weights(folder, model, config, sharded):
    state = {name: value.bfloat16().contiguous() for name, value in model.state_dict().items()}
    if config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    if not sharded:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(state)
    weight_map = {}
    for i, part in enumerate([names[::2], names[1::2]]):
        file = f"model-{i + 1:05}-of-00002.safetensors"
        save_file({name: state[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= {name: file for name in part}
    index = {"metadata": {"total_size": sum(2 * value.numel() for value in state.values())}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def main(out):
    for number, (name, keys) in enumerate(CASES.items()):
        folder = pathlib.Path(out) / name
        folder.mkdir(parents=True, exist_ok=True)
        keys = BASE | keys
        own = {key: value for key, value in keys.items() if key != "model_type"}
        config = transformers.AutoConfig.for_model(keys["model_type"], **json.loads(json.dumps(own)))
        config._attn_implementation = "eager"
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
        generator = torch.Generator().manual_seed(1000 + number)
        spread(model, generator)
        if config.tie_word_embeddings:
            model.tie_weights()
        save_file(expected(model, config, generator), folder / "expected.safetensors")
        save_weights(folder, model, config, "sharded" in name)
        keys["architectures"] = [type(model).__name__]
        keys["torch_dtype"] = "bfloat16"
        (folder / "config.json").write_text(json.dumps(keys, indent=1) + "\n")
        print(name, config.to_dict().get("rope_parameters"), getattr(config, "layer_types", None))


if __name__ == "__main__":
    main(sys.argv[1])
