//! `config.json`: which transformer a folder holds.

mod family;
mod gguf;
mod keys;
mod quantization;
mod raw;
mod scaling;

use std::path::{Path, PathBuf};

use parsimon_attn::{HeadMap, KvDtype, KvShape};
use parsimon_core::Diagnose;
use parsimon_core::io::gguf::{Gguf, OpenOptions};
use parsimon_core::io::{FormatError, read_json};
use serde_json::Value;

pub use family::{Activation, Architecture, BlockTraits};
pub(crate) use quantization::gptq_of_layer;
pub use quantization::{BitNetConfig, Quantization};
pub use scaling::RopeScaling;

/// Everything about a model that its tensors do not say.
#[derive(Clone, PartialEq, Debug)]
pub struct ModelConfig {
    /// The family.
    pub architecture: Architecture,
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_layers: usize,
    /// Query, key and value heads.
    pub heads: HeadMap,
    /// Width of a head, for queries, keys and values alike.
    pub head_dim: usize,
    /// Width of the augmented-Q layer; 0 for none (PAPER(sigma Appendix E)).
    pub aug_q_size: usize,
    /// Epsilon of every RMSNorm.
    pub rms_norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Scaling of the rotary frequencies.
    pub rope_scaling: RopeScaling,
    /// The longest context the model was made for.
    pub max_position_embeddings: usize,
    /// Whether the output layer is the embedding table.
    pub tie_word_embeddings: bool,
    /// The token that begins a text.
    pub bos_token_id: Option<u32>,
    /// The tokens that end a text.
    pub eos_token_ids: Vec<u32>,
    /// How the projections are quantized, if they are.
    pub quantization: Option<Quantization>,
    /// What sets the blocks apart from Llama's.
    pub block: BlockTraits,
}

/// The model that the demo trains: small enough to learn English words from Rust's documentation in minutes on two cores.
pub const SIGMA_TINY: &str = "sigma-tiny";

impl ModelConfig {
    /// Reads `config.json` of a model folder, where `eos_token_id` of a `generation_config.json` beside it wins, or the keys of a `.gguf` file.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the file, the key, the value, and what was expected.
    pub fn open(folder: &Path) -> Result<Self, ConfigError> {
        if crate::bind::is_gguf(folder) {
            return Self::from_gguf(&Gguf::open(folder, &OpenOptions::default())?);
        }
        let path = folder.join("config.json");
        let mut config = Self::from_json(&read_json(&path)?, &path)?;
        let generation = folder.join("generation_config.json");
        if generation.exists() {
            let json: Value = read_json(&generation)?;
            let eos = keys::Keys::new(&generation, "", &json)?.tokens("eos_token_id")?;
            if !eos.is_empty() {
                config.eos_token_ids = eos;
            }
        }
        Ok(config)
    }

    /// Reads a configuration; `path` is for messages.
    ///
    /// # Errors
    ///
    /// As [`ModelConfig::open`].
    pub fn from_json(json: &Value, path: &Path) -> Result<Self, ConfigError> {
        raw::parse(json, path)
    }

    /// The configuration as Hugging Face's keys.
    pub fn to_json(&self) -> Value {
        raw::render(self)
    }

    /// What a cache holds for a position.
    pub fn kv_shape(&self, dtype: KvDtype) -> KvShape {
        KvShape { layers: self.num_layers, heads: self.heads, d_qk: self.head_dim, d_v: self.head_dim, dtype }
    }

    /// The preset `sigma-tiny` for a vocabulary.
    pub fn sigma_tiny(vocab_size: usize) -> Self {
        ModelConfig {
            architecture: Architecture::Sigma,
            vocab_size,
            hidden_size: 128,
            intermediate_size: 384,
            num_layers: 4,
            heads: HeadMap::try_new(4, 1, 2).expect("1 and 2 divide 4"),
            head_dim: 32,
            aug_q_size: 128,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: RopeScaling::Default,
            max_position_embeddings: 256,
            tie_word_embeddings: true,
            bos_token_id: None,
            eos_token_ids: vec![0],
            quantization: None,
            block: BlockTraits::default(),
        }
    }

    /// The sliding window of a layer: the last so many keys, the query's own among them.
    pub fn window(&self, layer: usize) -> Option<usize> {
        self.block.windows.get(layer).copied().flatten()
    }

    /// Elements of a head that rotate.
    pub fn rotary_dim(&self) -> usize {
        scaling::rotary_dim(self.head_dim, self.block.partial_rotary_factor)
    }

    /// The longest sequence that the model runs: `max_position_embeddings`, or what a dynamic or YaRN scaling makes of it.
    pub fn context_length(&self) -> usize {
        let scaled = match self.rope_scaling {
            RopeScaling::Dynamic { factor } => factor * self.max_position_embeddings as f64,
            RopeScaling::Yarn { factor, original_max_position_embeddings, .. } => {
                factor * original_max_position_embeddings
            }
            _ => 0.0,
        };
        self.max_position_embeddings.max((scaled as usize).min(raw::CONTEXT_MAX as usize))
    }

    /// The projections inside block `layer` as (tensor name without `.weight`, outputs, inputs), in execution order.
    pub fn block_projections(&self, layer: usize) -> Vec<(String, usize, usize)> {
        let (hidden, d) = (self.hidden_size, self.head_dim);
        let (q, k, v) = (self.heads.n_q() * d, self.heads.n_k() * d, self.heads.n_v() * d);
        let mut projections = vec![("self_attn.q_proj", q, hidden)];
        if self.aug_q_size > 0 {
            projections.push(("self_attn.q_gate_proj", self.aug_q_size, q));
            projections.push(("self_attn.q_up_proj", self.aug_q_size, q));
            projections.push(("self_attn.q_down_proj", q, self.aug_q_size));
        }
        projections.extend([
            ("self_attn.k_proj", k, hidden),
            ("self_attn.v_proj", v, hidden),
            ("self_attn.o_proj", hidden, q),
            ("mlp.gate_proj", self.intermediate_size, hidden),
            ("mlp.up_proj", self.intermediate_size, hidden),
            ("mlp.down_proj", hidden, self.intermediate_size),
        ]);
        projections.into_iter().map(|(name, m, k)| (format!("model.layers.{layer}.{name}"), m, k)).collect()
    }

    /// The projections of block `layer` as files of the family hold them: as [`block_projections`](Self::block_projections), but for
    /// fused ones.
    pub fn stored_projections(&self, layer: usize) -> Vec<(String, usize, usize)> {
        if !self.block.fused {
            return self.block_projections(layer);
        }
        let (hidden, inner, d) = (self.hidden_size, self.intermediate_size, self.head_dim);
        let q = self.heads.n_q() * d;
        let projections = [
            ("self_attn.qkv_proj", q + (self.heads.n_k() + self.heads.n_v()) * d, hidden),
            ("self_attn.o_proj", hidden, q),
            ("mlp.gate_up_proj", 2 * inner, hidden),
            ("mlp.down_proj", hidden, inner),
        ];
        projections.into_iter().map(|(name, m, k)| (format!("model.layers.{layer}.{name}"), m, k)).collect()
    }

    /// The number of parameters: embeddings (once when tied), blocks, biases and norms.
    pub fn parameter_count(&self) -> u64 {
        let (hidden, traits) = (self.hidden_size, &self.block);
        let count = |present: bool, parameters: usize| if present { parameters } else { 0 };
        let [q, k, v] = [self.heads.n_q(), self.heads.n_k(), self.heads.n_v()].map(|heads| heads * self.head_dim);
        let block = self.block_projections(0).iter().map(|(_, m, k)| m * k).sum::<usize>()
            + 2 * hidden
            + count(traits.qkv_bias, q + k + v)
            + count(traits.o_bias, hidden)
            + count(traits.mlp_bias, 2 * self.intermediate_size + hidden)
            + count(traits.qk_norm, 2 * self.head_dim)
            + count(traits.post_norms, 2 * hidden)
            + count(traits.sub_norms, q + self.intermediate_size);
        let tables = if self.tie_word_embeddings { 1 } else { 2 };
        (block * self.num_layers + self.hidden_size + tables * self.vocab_size * self.hidden_size) as u64
    }
}

/// A configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum ConfigError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("{}: `{key}` is missing, expected {expected}", file.display())]
    Missing { file: PathBuf, key: String, expected: &'static str },
    #[error("{}: `{key}` is {value}, expected {expected}", file.display())]
    Value { file: PathBuf, key: String, value: String, expected: String },
    #[error(transparent)]
    Vptq(#[from] parsimon_vq::CheckpointError),
}

impl Diagnose for ConfigError {
    fn variant(&self) -> String {
        match self {
            ConfigError::Format(e) => e.variant(),
            ConfigError::Missing { .. } | ConfigError::Value { .. } => "ConfigError".into(),
            ConfigError::Vptq(e) => e.variant(),
        }
    }

    fn file(&self) -> Option<&Path> {
        match self {
            ConfigError::Format(e) => e.file(),
            ConfigError::Missing { file, .. } | ConfigError::Value { file, .. } => Some(file),
            ConfigError::Vptq(e) => e.file(),
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            ConfigError::Format(e) => e.place(),
            ConfigError::Missing { key, .. } | ConfigError::Value { key, .. } => Some(key.clone()),
            ConfigError::Vptq(e) => e.place(),
        }
    }
}

#[cfg(test)]
mod tests;
