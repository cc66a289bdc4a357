//! The keys of a GGUF file that say what `config.json` does.

use std::path::Path;

use parsimon_core::io::gguf::{Gguf, GgufWriter, Value};

use super::tensors::Tensor;
use super::unwritable;
use crate::config::Activation;
use crate::{Architecture, ModelConfig, ModelError, RopeScaling};

const FILE_TYPE: &str = "general.file_type";
const QUANTIZATION_VERSION: &str = "general.quantization_version";

/// llama.cpp's `general.file_type` by the type of most projections.
const FILE_TYPES: [(u32, u32); 11] = [
    (0, 0),
    (1, 1),
    (2, 2),
    (3, 3),
    (8, 7),
    (6, 8),
    (7, 9),
    (30, 32),
    (34, 36),
    (35, 37),
    // bitnet.cpp's I2_S.
    (36, 40),
];

fn file_type(tensors: &[Tensor<'_>]) -> Option<u32> {
    let first = tensors.iter().find_map(Tensor::projection_type)?;
    FILE_TYPES.iter().find(|row| row.0 == first).map(|row| row.1)
}

fn set_types(tensors: &[Tensor<'_>], writer: &mut GgufWriter) -> Result<(), ModelError> {
    if let Some(file_type) = file_type(tensors) {
        writer.set(FILE_TYPE, &Value::U32(file_type))?;
    }
    Ok(writer.set(QUANTIZATION_VERSION, &Value::U32(2))?)
}

/// The keys of a file, but for those of types and of several files.
pub(super) fn copy(file: &Gguf, tensors: &[Tensor<'_>], writer: &mut GgufWriter) -> Result<(), ModelError> {
    for (key, value) in file.metadata() {
        if key != FILE_TYPE && key != QUANTIZATION_VERSION && !key.starts_with("split.") {
            writer.set(key, &value)?;
        }
    }
    set_types(tensors, writer)
}

/// The keys of a folder.
pub(super) struct FolderKeys<'a> {
    folder: &'a Path,
    config: &'a ModelConfig,
    arch: &'static str,
}

impl<'a> FolderKeys<'a> {
    /// # Errors
    ///
    /// [`ModelError::Export`] for a family, windows or a scaling that GGUF has no keys for.
    pub(super) fn try_new(folder: &'a Path, config: &'a ModelConfig) -> Result<Self, ModelError> {
        let arch = match config.architecture {
            Architecture::Llama | Architecture::Mistral => "llama",
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
            Architecture::Phi3 => "phi3",
            Architecture::Gemma => "gemma",
            Architecture::Gemma2 => "gemma2",
            Architecture::BitNet if config.block.act == Activation::Silu => "bitnet",
            Architecture::BitNet => "bitnet-b1.58",
            Architecture::Sigma => {
                return Err(unwritable(folder, "a Sigma model", "GGUF has no such architecture; quantize to a folder"));
            }
        };
        let windows = config.block.windows.iter().any(Option::is_some);
        if windows && !matches!(config.architecture, Architecture::Phi3 | Architecture::Gemma2) {
            return Err(unwritable(folder, "`sliding_window`", format!("{arch} files have no windows")));
        }
        if let RopeScaling::Dynamic { .. } = config.rope_scaling {
            return Err(unwritable(folder, "`rope_scaling`", "a base that grows with the sequence has no keys"));
        }
        if let RopeScaling::Yarn { truncate: false, .. } = config.rope_scaling {
            return Err(unwritable(folder, "`rope_scaling`", "`truncate`: false has no key"));
        }
        Ok(FolderKeys { folder, config, arch })
    }

    pub(super) fn set(&self, tensors: &[Tensor<'_>], writer: &mut GgufWriter) -> Result<(), ModelError> {
        let (config, arch) = (self.config, self.arch);
        writer.set("general.architecture", &Value::String(arch.as_bytes()))?;
        if let Some(name) = self.folder.file_name().and_then(|name| name.to_str()) {
            writer.set("general.name", &Value::String(name.as_bytes()))?;
        }
        set_types(tensors, writer)?;
        let mut set = |name: &str, value: Value<'_>| writer.set(&format!("{arch}.{name}"), &value);
        for (name, n) in [
            ("context_length", config.max_position_embeddings),
            ("embedding_length", config.hidden_size),
            ("block_count", config.num_layers),
            ("feed_forward_length", config.intermediate_size),
            ("attention.head_count", config.heads.n_q()),
            ("attention.head_count_kv", config.heads.n_k()),
            ("attention.key_length", config.head_dim),
            ("attention.value_length", config.head_dim),
            ("rope.dimension_count", config.rotary_dim()),
            ("vocab_size", config.vocab_size),
        ] {
            set(name, count(n))?;
        }
        set("attention.layer_norm_rms_epsilon", Value::F32(config.rms_norm_eps))?;
        set("rope.freq_base", Value::F32(config.rope_theta as f32))?;
        if let Some(window) = config.block.windows.iter().flatten().next() {
            set("attention.sliding_window", count(*window))?;
        }
        for (name, value) in [
            ("attn_logit_softcapping", config.block.attn_soft_cap),
            ("final_logit_softcapping", config.block.logit_soft_cap),
            ("attention.scale", config.block.attn_scale),
        ] {
            if let Some(value) = value {
                set(name, Value::F32(value))?;
            } else if config.architecture == Architecture::Gemma2 && name.ends_with("softcapping") {
                set(name, Value::F32(0.0))?;
            }
        }
        for (name, value) in rotation(&config.rope_scaling) {
            set(&format!("rope.scaling.{name}"), value)?;
        }
        Ok(())
    }
}

fn count(n: usize) -> Value<'static> {
    // The configuration's own bounds are below.
    Value::U32(n as u32)
}

/// Keys below `rope.scaling`.
fn rotation(scaling: &RopeScaling) -> Vec<(&'static str, Value<'static>)> {
    let float = |x: f64| Value::F32(x as f32);
    match *scaling {
        RopeScaling::Linear { factor } => vec![("type", Value::String(b"linear")), ("factor", float(factor))],
        RopeScaling::Yarn {
            factor, beta_fast, beta_slow, attention_factor, original_max_position_embeddings, ..
        } => vec![
            ("type", Value::String(b"yarn")),
            ("factor", float(factor)),
            ("original_context_length", count(original_max_position_embeddings as usize)),
            ("yarn_beta_fast", float(beta_fast)),
            ("yarn_beta_slow", float(beta_slow)),
            // llama.cpp multiplies with `0.1 ln(factor) + 1` itself.
            ("yarn_attn_factor", float(attention_factor / (0.1 * factor.max(1.0).ln() + 1.0))),
        ],
        RopeScaling::LongRope { attention_factor, original_max_position_embeddings, .. } => vec![
            ("attn_factor", float(attention_factor)),
            ("original_context_length", count(original_max_position_embeddings)),
        ],
        _ => Vec::new(),
    }
}
