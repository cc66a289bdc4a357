//! Folders written as GGUF files, by llama.cpp's conventions: names, the order of rotated heads, norms that hold `1 + w`.

use std::path::Path;

use parsimon_core::io::gguf::{GgufWriter, Value};
use parsimon_core::io::{Checkpoint, read_json};
use parsimon_core::quant::packed::bitnet::{self, ScaleRule};
use parsimon_core::quant::{BlockType, encode};
use parsimon_model::{ModelConfig, RopeFrequencies, RopeScaling};
use serde_json::Value as Json;

/// How a conversion goes.
pub(crate) struct Conversion<'a> {
    /// `general.architecture`.
    pub(crate) arch: &'a str,
    /// The type of matrices whose rows are whole blocks; others are F32.
    pub(crate) blocks: BlockType,
    /// Files of the model.
    pub(crate) files: u16,
}

struct Tensor {
    name: String,
    type_id: u32,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tensor {
    fn f32s(name: String, shape: Vec<usize>, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Tensor { name, type_id: BlockType::F32.id(), shape, bytes }
    }
}

const NAMES: [(&str, &str); 23] = [
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
    ("model.layers", "blk"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("self_attn.attn_sub_norm", "attn_sub_norm"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("mlp.ffn_sub_norm", "ffn_sub_norm"),
    ("input_layernorm", "attn_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    ("gemma2 post_attention_layernorm", "post_attention_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("weight_scale", "scale"),
];

fn gguf_name(name: &str, arch: &str) -> String {
    let mut name = name.to_owned();
    if arch == "gemma2" {
        name = name.replace("post_attention_layernorm", "gemma2 post_attention_layernorm");
    }
    NAMES.iter().fold(name, |name, (from, to)| name.replace(from, to))
}

/// What llama.cpp's converter does to query and key rows: `reshape(heads, 2, d / 2).swap(1, 2)`.
fn permuted(values: &[f32], d: usize, row_len: usize) -> Vec<f32> {
    let row = |row: usize| {
        let (head, at) = (row / d, row % d);
        let from = head * d + at % 2 * (d / 2) + at / 2;
        &values[from * row_len..][..row_len]
    };
    (0..values.len() / row_len).flat_map(row).copied().collect()
}

fn tensors(checkpoint: &Checkpoint, config: &ModelConfig, conversion: &Conversion<'_>) -> Vec<Tensor> {
    let arch = conversion.arch;
    let mut tensors = Vec::new();
    for name in checkpoint.names().filter(|name| !name.ends_with("weight_scale")) {
        let view = checkpoint.tensor(name).unwrap();
        let own = gguf_name(name, arch);
        if view.dtype() == parsimon_core::DType::U8 {
            let prefix = name.trim_end_matches(".weight");
            let matrix = bitnet::unpack(checkpoint, prefix, ScaleRule::Multiply).unwrap();
            let shape = vec![matrix.m, matrix.k];
            tensors.push(Tensor { name: own, type_id: 36, shape, bytes: i2s(&matrix.codes, matrix.scales[0]) });
            continue;
        }
        let shape = view.shape().to_vec();
        let mut values = view.to_f32().unwrap();
        let rotated = ["q_proj.", "k_proj."].iter().any(|part| name.contains(part));
        if arch == "llama" && rotated {
            values = permuted(&values, config.head_dim, if shape.len() == 2 { shape[1] } else { 1 });
        }
        if arch.starts_with("gemma") && name.ends_with("norm.weight") {
            values.iter_mut().for_each(|w| *w += 1.0);
        }
        let blocks = conversion.blocks;
        if shape.len() == 2 && shape[1].is_multiple_of(blocks.block_len()) {
            let bytes = match blocks {
                BlockType::BF16 => {
                    values.iter().flat_map(|x| (x.to_bits() >> 16).to_le_bytes()[..2].to_vec()).collect()
                }
                blocks => encode::quantize(blocks, &values).unwrap(),
            };
            tensors.push(Tensor { name: own, type_id: blocks.id(), shape, bytes });
        } else {
            tensors.push(Tensor::f32s(own, shape, &values));
        }
    }
    match &config.rope_scaling {
        RopeScaling::Llama3 { .. } => {
            let plain = ModelConfig { rope_scaling: RopeScaling::Default, ..config.clone() };
            let (plain, scaled) = (RopeFrequencies::new(&plain), RopeFrequencies::new(config));
            let divisors: Vec<f32> =
                plain.inv_freq().iter().zip(scaled.inv_freq()).map(|(f, scaled)| (f / scaled) as f32).collect();
            tensors.push(Tensor::f32s("rope_freqs.weight".into(), vec![divisors.len()], &divisors));
        }
        RopeScaling::LongRope { short_factor, long_factor, .. } => {
            for (name, factors) in [("short", short_factor), ("long", long_factor)] {
                let factors: Vec<f32> = factors.iter().map(|&f| f as f32).collect();
                tensors.push(Tensor::f32s(format!("rope_factors_{name}.weight"), vec![factors.len()], &factors));
            }
        }
        _ => {}
    }
    tensors
}

/// Blocks of 128 codes, then the scale and its padding.
fn i2s(codes: &[u8], scale: f32) -> Vec<u8> {
    let block =
        |v: &[u8]| (0..32).map(|j| v[j] << 6 | v[32 + j] << 4 | v[64 + j] << 2 | v[96 + j]).collect::<Vec<u8>>();
    let mut bytes: Vec<u8> = codes.chunks_exact(128).flat_map(block).collect();
    bytes.extend(scale.to_le_bytes());
    bytes.extend([0; 28]);
    bytes
}

fn keys(writer: &mut GgufWriter<'_>, config: &ModelConfig, json: &Json, arch: &str) {
    let mut set = |name: &str, value: Value<'_>| writer.set(&format!("{arch}.{name}"), &value).unwrap();
    let count = |n: usize| Value::U32(n as u32);
    set("context_length", count(config.max_position_embeddings));
    set("embedding_length", count(config.hidden_size));
    set("block_count", count(config.num_layers));
    set("feed_forward_length", count(config.intermediate_size));
    set("attention.head_count", count(config.heads.n_q()));
    set("attention.head_count_kv", count(config.heads.n_k()));
    set("attention.layer_norm_rms_epsilon", Value::F32(config.rms_norm_eps));
    set("rope.freq_base", Value::F32(config.rope_theta as f32));
    set("rope.dimension_count", count(config.rotary_dim()));
    if config.head_dim * config.heads.n_q() != config.hidden_size {
        set("attention.key_length", count(config.head_dim));
        set("attention.value_length", count(config.head_dim));
    }
    if let Some(window) = config.block.windows.iter().flatten().next() {
        set("attention.sliding_window", count(*window));
    }
    for (name, key) in [
        ("attn_logit_softcapping", &json["attn_logit_softcapping"]),
        ("final_logit_softcapping", &json["final_logit_softcapping"]),
    ] {
        if let Some(cap) = key.as_f64() {
            set(name, Value::F32(cap as f32));
        }
    }
    if let Some(scale) = config.block.attn_scale {
        set("attention.scale", Value::F32(scale));
    }
    match &config.rope_scaling {
        RopeScaling::Linear { factor } => {
            set("rope.scaling.type", Value::String(b"linear"));
            set("rope.scaling.factor", Value::F32(*factor as f32));
        }
        RopeScaling::Yarn { factor, original_max_position_embeddings, .. } => {
            set("rope.scaling.type", Value::String(b"yarn"));
            set("rope.scaling.factor", Value::F32(*factor as f32));
            set("rope.scaling.original_context_length", count(*original_max_position_embeddings as usize));
        }
        RopeScaling::LongRope { attention_factor, original_max_position_embeddings, .. } => {
            set("rope.scaling.attn_factor", Value::F32(*attention_factor as f32));
            set("rope.scaling.original_context_length", count(*original_max_position_embeddings));
        }
        _ => {}
    }
}

/// Writes `folder` as `out`, or as `name-00001-of-0000N.gguf` beside it; the path of the first file.
pub(crate) fn convert(folder: &Path, out: &Path, conversion: &Conversion<'_>) -> std::path::PathBuf {
    let config = ModelConfig::open(folder).unwrap();
    let json: Json = read_json(&folder.join("config.json")).unwrap();
    let tensors = tensors(&Checkpoint::open(folder).unwrap(), &config, conversion);
    let files = conversion.files;
    let path = |no: u16| match files {
        1 => out.to_owned(),
        _ => out.with_file_name(format!("{}-{:05}-of-{files:05}.gguf", out.file_stem().unwrap().display(), no + 1)),
    };
    for no in 0..files {
        let mut writer = GgufWriter::new();
        if no == 0 {
            writer.set("general.architecture", &Value::String(conversion.arch.as_bytes())).unwrap();
            keys(&mut writer, &config, &json, conversion.arch);
            writer.set("tokenizer.ggml.eos_token_id", &Value::U32(config.eos_token_ids[0])).unwrap();
        }
        if files > 1 {
            writer.set("split.no", &Value::U16(no)).unwrap();
            writer.set("split.count", &Value::U16(files)).unwrap();
            writer.set("split.tensors.count", &Value::I32(tensors.len() as i32)).unwrap();
        }
        for tensor in tensors.iter().skip(no.into()).step_by(files.into()) {
            writer.tensor_of_id(&tensor.name, tensor.type_id, &tensor.shape, &tensor.bytes).unwrap();
        }
        writer.write(&path(no)).unwrap();
    }
    path(0)
}
