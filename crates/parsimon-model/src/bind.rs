//! From the tensors of a folder or a GGUF file to a model.
//!
//! A [`Source`] finds tensors by Hugging Face's names and hands on matrices in the form that a layer keeps; what follows the names (which
//! norms, which biases) is the configuration's, and stands here once for all formats.

mod floats;
mod folder;
mod gguf;
mod pack;
mod rows;

use std::path::{Path, PathBuf};

use folder::FolderSource;
use gguf::GgufSource;
use pack::Packing;
use parsimon_attn::{Attention, AttnConfig, Mask, ScoreMod};
use parsimon_core::io::Checkpoint;
use parsimon_core::io::gguf::{Dialect, Gguf, OpenOptions};
use parsimon_core::quant::packed::i2s::I2sBlock;
use parsimon_core::{CancelFlag, Control, NoProgress, Unit};
use parsimon_lut::{Backend, DenseMatrix};
use rayon::prelude::*;
pub(crate) use rows::Rows;

use crate::block::{AugQ, Block, Extras};
use crate::embedding::Embedding;
use crate::{Linear, Model, ModelConfig, ModelError, PackCache, RopeFrequencies};

/// How weights are prepared.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LoadOptions {
    /// The kernels of low-bit layers.
    pub backend: Backend,
    /// A folder where packed GPTQ layers are kept, see [`PackCache`]. With it one layer is bound after the other, so that one matrix at
    /// most is unpacked in memory; without it layers are bound in parallel. The model is the same.
    pub pack_cache: Option<PathBuf>,
    /// Whether quantized weights become `f32`: the exact values of the file instead of the tables' and integers' products. BitNet layers keep their
    /// 8-bit activations, which are part of that model.
    pub dequantize: bool,
    /// Whether every float weight is checked to be finite. Scales of quantized layers always are.
    pub check_finite: bool,
    /// Whose type numbers a GGUF file uses.
    pub dialect: Dialect,
    /// Which machine wrote the I2_S tensors of a GGUF file.
    pub i2s_block: I2sBlock,
}

impl Model {
    /// Reads a Hugging Face folder (`config.json` and `model.safetensors` or its shards), or a `.gguf` file (of a split model the first).
    ///
    /// # Errors
    ///
    /// [`ModelError`] naming the file, the key or the tensors; all missing tensors are listed at once.
    pub fn open(path: &Path, options: &LoadOptions) -> Result<Self, ModelError> {
        let cancel = CancelFlag::new();
        Self::open_with(path, options, &Control { progress: &NoProgress, cancel: &cancel })
    }

    /// As [`Model::open`], with progress by block.
    ///
    /// # Errors
    ///
    /// As [`Model::open`], and [`ModelError::Cancelled`].
    pub fn open_with(path: &Path, options: &LoadOptions, control: &Control<'_>) -> Result<Self, ModelError> {
        if is_gguf(path) {
            let file = Gguf::open(path, &OpenOptions { dialect: options.dialect })?;
            let config = ModelConfig::from_gguf(&file)?;
            let source = GgufSource { config: &config, file: &file, packing: Packing::new(options) };
            return assemble(&config, &source, None, control);
        }
        let config = ModelConfig::open(path)?;
        Self::from_checkpoint_with(&config, &Checkpoint::open(path)?, options, control)
    }

    /// Binds the tensors of a checkpoint to a configuration.
    ///
    /// # Errors
    ///
    /// As [`Model::open`].
    pub fn from_checkpoint(
        config: ModelConfig,
        checkpoint: &Checkpoint,
        options: &LoadOptions,
    ) -> Result<Self, ModelError> {
        let cancel = CancelFlag::new();
        let control = Control { progress: &NoProgress, cancel: &cancel };
        Self::from_checkpoint_with(&config, checkpoint, options, &control)
    }

    fn from_checkpoint_with(
        config: &ModelConfig,
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        control: &Control<'_>,
    ) -> Result<Self, ModelError> {
        let cache = options.pack_cache.as_deref().map(PackCache::open).transpose()?;
        let source = FolderSource { config, checkpoint, packing: Packing::new(options), cache: cache.as_ref() };
        assemble(config, &source, cache.as_ref(), control)
    }
}

/// Whether a path names a GGUF file, by its extension.
pub(crate) fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// Finds the tensors of a model by Hugging Face's names, without `.weight`.
trait Source: Sync {
    /// The tensors of the file that a matrix is made of.
    fn matrix_tensors(&self, name: &str) -> Vec<String>;

    /// The tensor of the file that holds a vector, given with its suffix.
    fn vector_tensor(&self, name: &str) -> String;

    /// Whether all tensors are there.
    fn require(&self, tensors: &[String]) -> Result<(), ModelError>;

    /// A projection `[m, k]`.
    fn linear(&self, name: &str, shape: (usize, usize)) -> Result<Linear, ModelError>;

    /// A vector as the model multiplies with it or adds it.
    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, ModelError>;

    /// The embedding table, and the output layer where it is another form of it.
    fn embedding(&self, shape: (usize, usize)) -> Result<(Embedding, Option<Linear>), ModelError>;
}

fn assemble(
    config: &ModelConfig,
    source: &impl Source,
    cache: Option<&PackCache>,
    control: &Control<'_>,
) -> Result<Model, ModelError> {
    let binder = Binder { config, source };
    source.require(&binder.required())?;
    let table = (config.vocab_size, config.hidden_size);
    let (embed, tied) = source.embedding(table)?;
    let lm_head = if config.tie_word_embeddings { tied } else { Some(source.linear("lm_head", table)?) };
    let norm = source.vector("model.norm.weight", config.hidden_size)?;
    control.progress.start("load", Some(config.num_layers as u64), Unit::Items("blocks"));
    let block = |layer| {
        control.cancel.check()?;
        let block = binder.block(layer);
        control.progress.advance(1);
        block
    };
    let one_by_one = cache.is_some() && config.quantization.is_some();
    let blocks: Result<Vec<Block>, ModelError> = if one_by_one {
        (0..config.num_layers).map(block).collect()
    } else {
        (0..config.num_layers).into_par_iter().map(block).collect()
    };
    control.progress.finish();
    let attention = (0..config.num_layers).map(|layer| attention(config, layer)).collect::<Result<_, _>>()?;
    Ok(Model {
        blocks: blocks?,
        embed,
        norm,
        lm_head,
        attention,
        rope: RopeFrequencies::new(config),
        config: config.clone(),
        pack_cache: cache.map(PackCache::report),
        gating: None,
    })
}

fn attention(config: &ModelConfig, layer: usize) -> Result<Attention, ModelError> {
    let mask = config.window(layer).map_or(Mask::Causal, Mask::sliding);
    let (heads, d, scale) = (config.heads, config.head_dim, config.block.attn_scale.map(f64::from));
    let score_mod = config.block.attn_soft_cap.map_or(ScoreMod::None, ScoreMod::SoftCap);
    Ok(Attention::prepare(&AttnConfig { scale, score_mod, ..AttnConfig::new(heads, (d, d), mask) })?)
}

struct Binder<'a, S> {
    config: &'a ModelConfig,
    source: &'a S,
}

/// Names of the vectors of a block and their lengths, by what a configuration says.
struct Vectors {
    norms: Vec<(&'static str, usize)>,
    biases: Vec<(&'static str, usize)>,
}

impl<S: Source> Binder<'_, S> {
    /// Every tensor that must exist; for a quantized projection its parts.
    fn required(&self) -> Vec<String> {
        let mut tensors = self.source.matrix_tensors("model.embed_tokens");
        tensors.push(self.source.vector_tensor("model.norm.weight"));
        if !self.config.tie_word_embeddings {
            tensors.extend(self.source.matrix_tensors("lm_head"));
        }
        let Vectors { norms, biases } = self.vectors();
        for layer in 0..self.config.num_layers {
            let vector = |name: String| self.source.vector_tensor(&name);
            tensors.extend(norms.iter().map(|(norm, _)| vector(tensor_name(layer, norm, "weight"))));
            tensors.extend(biases.iter().map(|(bias, _)| vector(tensor_name(layer, bias, "bias"))));
            for (name, ..) in self.config.block_projections(layer) {
                tensors.extend(self.source.matrix_tensors(&name));
            }
        }
        // Parts of a fused matrix name it more than once.
        let mut seen = std::collections::HashSet::new();
        tensors.retain(|tensor| seen.insert(tensor.clone()));
        tensors
    }

    fn vectors(&self) -> Vectors {
        let (hidden, d, inner) = (self.config.hidden_size, self.config.head_dim, self.config.intermediate_size);
        let heads = self.config.heads;
        let traits = &self.config.block;
        let mut norms = vec![("input_layernorm", hidden), ("post_attention_layernorm", hidden)];
        if traits.post_norms {
            norms.extend([("pre_feedforward_layernorm", hidden), ("post_feedforward_layernorm", hidden)]);
        }
        if traits.qk_norm {
            norms.extend([("self_attn.q_norm", d), ("self_attn.k_norm", d)]);
        }
        if traits.sub_norms {
            norms.extend([("self_attn.attn_sub_norm", heads.n_q() * d), ("mlp.ffn_sub_norm", inner)]);
        }
        let mut biases = Vec::new();
        if traits.qkv_bias {
            biases.extend([
                ("self_attn.q_proj", heads.n_q() * d),
                ("self_attn.k_proj", heads.n_k() * d),
                ("self_attn.v_proj", heads.n_v() * d),
            ]);
        }
        if traits.o_bias {
            biases.push(("self_attn.o_proj", hidden));
        }
        if traits.mlp_bias {
            biases.extend([("mlp.gate_proj", inner), ("mlp.up_proj", inner), ("mlp.down_proj", hidden)]);
        }
        Vectors { norms, biases }
    }

    fn block(&self, layer: usize) -> Result<Block, ModelError> {
        let shapes = self.config.block_projections(layer);
        let linear = |suffix: &str| {
            let (name, m, k) =
                shapes.iter().find(|(name, ..)| name.ends_with(suffix)).expect("a projection of the block");
            self.source.linear(name, (*m, *k))
        };
        let vectors = self.vectors();
        let read = |of: &[(&'static str, usize)], name: &str, suffix| {
            let found = of.iter().find(|(known, _)| *known == name);
            found.map(|&(_, len)| self.source.vector(&tensor_name(layer, name, suffix), len)).transpose()
        };
        let norm = |name| read(&vectors.norms, name, "weight");
        let bias = |name| read(&vectors.biases, name, "bias");
        let first = |name| self.source.vector(&tensor_name(layer, name, "weight"), self.config.hidden_size);
        let aug_q = if self.config.aug_q_size > 0 {
            Some(AugQ {
                gate_proj: linear("self_attn.q_gate_proj")?,
                up_proj: linear("self_attn.q_up_proj")?,
                down_proj: linear("self_attn.q_down_proj")?,
            })
        } else {
            None
        };
        // With four norms the one after attention is applied to its output, and another stands before the feed-forward network.
        let four = self.config.block.post_norms;
        let (mlp_norm, post_attn_norm) = if four {
            (first("pre_feedforward_layernorm")?, norm("post_attention_layernorm")?)
        } else {
            (first("post_attention_layernorm")?, None)
        };
        Ok(Block {
            input_norm: first("input_layernorm")?,
            q_proj: linear("self_attn.q_proj")?,
            aug_q,
            k_proj: linear("self_attn.k_proj")?,
            v_proj: linear("self_attn.v_proj")?,
            o_proj: linear("self_attn.o_proj")?,
            mlp_norm,
            gate_proj: linear("mlp.gate_proj")?,
            up_proj: linear("mlp.up_proj")?,
            down_proj: linear("mlp.down_proj")?,
            extras: Extras {
                q_bias: bias("self_attn.q_proj")?,
                k_bias: bias("self_attn.k_proj")?,
                v_bias: bias("self_attn.v_proj")?,
                o_bias: bias("self_attn.o_proj")?,
                gate_bias: bias("mlp.gate_proj")?,
                up_bias: bias("mlp.up_proj")?,
                down_bias: bias("mlp.down_proj")?,
                q_norm: norm("self_attn.q_norm")?,
                k_norm: norm("self_attn.k_norm")?,
                post_attn_norm,
                post_mlp_norm: norm("post_feedforward_layernorm")?,
                attn_sub_norm: norm("self_attn.attn_sub_norm")?,
                mlp_sub_norm: norm("mlp.ffn_sub_norm")?,
            },
        })
    }
}

fn tensor_name(layer: usize, name: &str, suffix: &str) -> String {
    format!("model.layers.{layer}.{name}.{suffix}")
}

/// The table as `f32`, for a layer that is both.
fn dense_table(values: Vec<f32>, (m, k): (usize, usize)) -> Embedding {
    Embedding::Dense(DenseMatrix::new(values, m, k))
}
