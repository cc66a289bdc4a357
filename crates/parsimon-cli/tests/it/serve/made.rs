//! A random Llama model whose tokens are the 256 bytes and a few special ones.

use std::collections::BTreeMap;
use std::path::Path;

use parsimon::tensor::SplitMix64;
use parsimon::tensor::io::{TensorData, write_safetensors};
use serde_json::{Value, json};

const VOCABULARY: usize = 272;
const HIDDEN: usize = 32;
const WIDE: usize = 64;
const LAYERS: usize = 2;
/// The token that ends a text.
pub(super) const END: u32 = 256;
/// The tokens that begin and end a message of the template.
const SPECIAL: [&str; 3] = ["<|end|>", "<|im_start|>", "<|im_end|>"];
const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                        {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// The folder of the model.
pub(super) fn model() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, value: Value| std::fs::write(dir.path().join(name), value.to_string()).unwrap();
    write(
        "config.json",
        json!({
            "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": WIDE, "num_hidden_layers": LAYERS,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": VOCABULARY,
            "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
            "hidden_act": "silu", "eos_token_id": END, "bos_token_id": null
        }),
    );
    write("tokenizer.json", tokenizer());
    write("tokenizer_config.json", json!({"chat_template": TEMPLATE, "eos_token": "<|im_end|>"}));
    weights(&dir.path().join("model.safetensors"));
    dir
}

fn tokenizer() -> Value {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut others = 0x100..;
    let vocabulary: serde_json::Map<String, Value> = (0..=255u8)
        .map(|byte| {
            let code = if printable(byte) { u32::from(byte) } else { others.next().unwrap() };
            (char::from_u32(code).unwrap().to_string(), json!(byte))
        })
        .collect();
    let added: Vec<Value> = SPECIAL
        .iter()
        .enumerate()
        .map(|(i, token)| {
            json!({"id": END as usize + i, "content": token, "special": true, "single_word": false, "lstrip": false,
                   "rstrip": false, "normalized": false})
        })
        .collect();
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    json!({"version": "1.0", "added_tokens": added, "pre_tokenizer": bytes, "decoder": bytes,
           "model": {"type": "BPE", "vocab": vocabulary, "merges": []}})
}

fn weights(file: &Path) {
    let mut rng = SplitMix64::new(17);
    let mut random = |m: usize, k: usize, scale: f64| {
        let values: Vec<f32> = (0..m * k).map(|_| (rng.next_normal() * scale) as f32).collect();
        TensorData::from_f32(&[m, k], &values)
    };
    let ones = || TensorData::from_f32(&[HIDDEN], &[1.0; HIDDEN]);
    let mut tensors = BTreeMap::from([
        ("model.embed_tokens.weight".to_owned(), random(VOCABULARY, HIDDEN, 0.5)),
        ("model.norm.weight".to_owned(), ones()),
    ]);
    let scale = |k: usize| (k as f64).powf(-0.5);
    for layer in 0..LAYERS {
        let projections = [
            ("self_attn.q_proj", 32, HIDDEN),
            ("self_attn.k_proj", 16, HIDDEN),
            ("self_attn.v_proj", 16, HIDDEN),
            ("self_attn.o_proj", HIDDEN, 32),
            ("mlp.gate_proj", WIDE, HIDDEN),
            ("mlp.up_proj", WIDE, HIDDEN),
            ("mlp.down_proj", HIDDEN, WIDE),
        ];
        for (name, m, k) in projections {
            tensors.insert(format!("model.layers.{layer}.{name}.weight"), random(m, k, scale(k)));
        }
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            tensors.insert(format!("model.layers.{layer}.{norm}.weight"), ones());
        }
    }
    write_safetensors(file, &tensors, None).unwrap();
}
