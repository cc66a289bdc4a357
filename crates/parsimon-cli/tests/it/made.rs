//! A random Llama model whose tokens are the 256 bytes and a few special ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parsimon::tensor::SplitMix64;
use parsimon::tensor::io::gguf::{Array, GgufWriter, Value as Entry};
use parsimon::tensor::io::{Checkpoint, TensorData, write_safetensors};
use serde_json::{Value, json};

const VOCABULARY: usize = 272;
const HIDDEN: usize = 32;
const WIDE: usize = 64;
const LAYERS: usize = 2;
const HEAD: usize = 16;
/// The token that ends a text.
pub(crate) const END: u32 = 256;
/// The tokens that begin and end a message of the template.
const SPECIAL: [&str; 3] = ["<|end|>", "<|im_start|>", "<|im_end|>"];
const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                        {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// The folder of the model.
pub(crate) fn model() -> tempfile::TempDir {
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

/// The characters of the bytes, by byte.
fn characters() -> Vec<String> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut others = 0x100..;
    let code = |byte: u8| if printable(byte) { u32::from(byte) } else { others.next().unwrap() };
    (0..=255u8).map(code).map(|code| char::from_u32(code).unwrap().to_string()).collect()
}

fn tokenizer() -> Value {
    let characters = characters().into_iter().enumerate();
    let vocabulary: serde_json::Map<String, Value> =
        characters.map(|(byte, character)| (character, json!(byte))).collect();
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

/// The model of a folder as a GGUF file beside it.
pub(crate) fn gguf(folder: &Path) -> PathBuf {
    let mut writer = GgufWriter::new();
    let mut set = |key: &str, value: Entry<'_>| writer.set(key, &value).unwrap();
    set("general.architecture", Entry::String(b"llama"));
    for (key, value) in [
        ("context_length", 32768),
        ("embedding_length", HIDDEN as u32),
        ("block_count", LAYERS as u32),
        ("feed_forward_length", WIDE as u32),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
        ("rope.dimension_count", HEAD as u32),
    ] {
        set(&format!("llama.{key}"), Entry::U32(value));
    }
    set("llama.attention.layer_norm_rms_epsilon", Entry::F32(1e-5));
    set("llama.rope.freq_base", Entry::F32(10000.0));
    let mut tokens = characters();
    tokens.extend(SPECIAL.map(str::to_owned));
    tokens.extend((tokens.len()..VOCABULARY).map(|id| format!("<|unused {id}|>")));
    // 1 is an ordinary token, 3 a special one.
    let kinds: Vec<i32> = (0..VOCABULARY).map(|id| if id < 256 { 1 } else { 3 }).collect();
    set("tokenizer.ggml.model", Entry::String(b"gpt2"));
    set("tokenizer.ggml.pre", Entry::String(b"llama-bpe"));
    set("tokenizer.ggml.tokens", Entry::Array(Array::of_strings(&tokens)));
    set("tokenizer.ggml.token_type", Entry::Array(Array::of_i32s(&kinds)));
    set("tokenizer.ggml.merges", Entry::Array(Array::of_strings::<&str>(&[])));
    set("tokenizer.ggml.eos_token_id", Entry::U32(END));
    set("tokenizer.chat_template", Entry::String(TEMPLATE.as_bytes()));

    let checkpoint = Checkpoint::open(folder).unwrap();
    let mut tensors = Vec::new();
    for name in checkpoint.names() {
        let view = checkpoint.tensor(name).unwrap();
        let (shape, mut values) = (view.shape().to_vec(), view.to_f32().unwrap());
        if name.contains("q_proj") || name.contains("k_proj") {
            values = permuted(&values, shape[1]);
        }
        let own = NAMES.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to));
        tensors.push((own, shape, values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()));
    }
    for (name, shape, bytes) in &tensors {
        // 0 is `f32`.
        writer.tensor_of_id(name, 0, shape, bytes.len() as u64).unwrap();
    }
    let path = folder.join("small.gguf");
    let mut data = writer.create(&path).unwrap();
    tensors.iter().for_each(|(name, _, bytes)| data.write(name, bytes).unwrap());
    data.commit().unwrap();
    path
}

const NAMES: [(&str, &str); 12] = [
    ("model.layers.", "blk."),
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
];

/// The rows of query and key heads as GGUF files of Llama models have them: the two of a rotated pair side by side.
fn permuted(values: &[f32], width: usize) -> Vec<f32> {
    let row = |row: usize| {
        let (head, at) = (row / HEAD, row % HEAD);
        &values[(head * HEAD + at % 2 * (HEAD / 2) + at / 2) * width..][..width]
    };
    (0..values.len() / width).flat_map(row).copied().collect()
}
