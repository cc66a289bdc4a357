//! From the tensors of a folder to a model.

use std::path::{Path, PathBuf};

use parsimon_attn::{Attention, AttnConfig, Mask};
use parsimon_core::io::Checkpoint;
use parsimon_core::quant::gptq::{self, GptqConfig};
use parsimon_lut::{Backend, DenseMatrix, LowBitMatrix};
use rayon::prelude::*;

use crate::block::{AugQ, Block};
use crate::pack_cache::PackKey;
use crate::{Linear, Model, ModelConfig, ModelError, PackCache, RopeFrequencies};

/// How weights are prepared.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LoadOptions {
    /// The kernels of low-bit layers.
    pub backend: Backend,
    /// A folder where packed low-bit layers are kept, see [`PackCache`]. With it one layer is bound after the other, so that one matrix at
    /// most is unpacked in memory; without it layers are bound in parallel. The model is the same.
    pub pack_cache: Option<PathBuf>,
}

impl Model {
    /// Reads a Hugging Face folder: `config.json` and `model.safetensors` (or its shards).
    ///
    /// # Errors
    ///
    /// [`ModelError`] naming the file, the key or the tensors; all missing tensors are listed at once.
    pub fn open(folder: &Path, options: &LoadOptions) -> Result<Self, ModelError> {
        let config = ModelConfig::open(folder)?;
        Self::from_checkpoint(config, &Checkpoint::open(folder)?, options)
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
        let cache = options.pack_cache.as_deref().map(PackCache::open).transpose()?;
        let binder = Binder { config: &config, checkpoint, backend: options.backend, cache: cache.as_ref() };
        checkpoint.require(binder.required().iter().map(String::as_str))?;
        let table = (config.vocab_size, config.hidden_size);
        let embed = binder.dense("model.embed_tokens", table)?;
        let lm_head = (!config.tie_word_embeddings).then(|| binder.dense("lm_head", table)).transpose()?;
        let norm = binder.vector("model.norm.weight")?;
        let one_by_one = cache.is_some() && config.quantization.is_some();
        let blocks = if one_by_one {
            (0..config.num_layers).map(|layer| binder.block(layer)).collect()
        } else {
            (0..config.num_layers).into_par_iter().map(|layer| binder.block(layer)).collect::<Result<Vec<Block>, _>>()
        };
        let attention = Attention::prepare(&AttnConfig {
            heads: config.heads,
            d_qk: config.head_dim,
            d_v: config.head_dim,
            scale: None,
            mask: Mask::Causal,
            soft_cap: None,
        })?;
        let rope = RopeFrequencies::new(&config);
        let pack_cache = cache.map(|cache| cache.report());
        Ok(Model { blocks: blocks?, embed, norm, lm_head, attention, rope, config, pack_cache })
    }
}

struct Binder<'a> {
    config: &'a ModelConfig,
    checkpoint: &'a Checkpoint,
    backend: Backend,
    cache: Option<&'a PackCache>,
}

impl Binder<'_> {
    /// Every tensor that must exist; for a quantized projection its four parts.
    fn required(&self) -> Vec<String> {
        let mut names = vec!["model.embed_tokens.weight".to_owned(), "model.norm.weight".to_owned()];
        if !self.config.tie_word_embeddings {
            names.push("lm_head.weight".to_owned());
        }
        for layer in 0..self.config.num_layers {
            names.extend(["input_layernorm", "post_attention_layernorm"].map(|norm| norm_name(layer, norm)));
            for (name, ..) in self.config.block_projections(layer) {
                if self.is_quantized(&name) {
                    names.extend(gptq::SUFFIXES.map(|suffix| format!("{name}.{suffix}")));
                } else {
                    names.push(format!("{name}.weight"));
                }
            }
        }
        names
    }

    fn is_quantized(&self, name: &str) -> bool {
        self.config.quantization.is_some() && !self.checkpoint.contains(&format!("{name}.weight"))
    }

    fn block(&self, layer: usize) -> Result<Block, ModelError> {
        let shapes = self.config.block_projections(layer);
        let linear = |suffix: &str| {
            let (name, m, k) =
                shapes.iter().find(|(name, ..)| name.ends_with(suffix)).expect("a projection of the block");
            self.linear(name, (*m, *k))
        };
        let aug_q = if self.config.aug_q_size > 0 {
            Some(AugQ {
                gate_proj: linear("self_attn.q_gate_proj")?,
                up_proj: linear("self_attn.q_up_proj")?,
                down_proj: linear("self_attn.q_down_proj")?,
            })
        } else {
            None
        };
        Ok(Block {
            input_norm: self.vector(&norm_name(layer, "input_layernorm"))?,
            q_proj: linear("self_attn.q_proj")?,
            aug_q,
            k_proj: linear("self_attn.k_proj")?,
            v_proj: linear("self_attn.v_proj")?,
            o_proj: linear("self_attn.o_proj")?,
            post_attention_norm: self.vector(&norm_name(layer, "post_attention_layernorm"))?,
            gate_proj: linear("mlp.gate_proj")?,
            up_proj: linear("mlp.up_proj")?,
            down_proj: linear("mlp.down_proj")?,
        })
    }

    fn linear(&self, name: &str, shape: (usize, usize)) -> Result<Linear, ModelError> {
        let Some(quantization) = self.config.quantization.as_ref().filter(|_| self.is_quantized(name)) else {
            return Ok(Linear::Dense(self.dense(name, shape)?));
        };
        let pack = || self.pack(name, shape, quantization);
        let key = || {
            let tensors = gptq::SUFFIXES.map(|suffix| self.checkpoint.tensor(&format!("{name}.{suffix}")));
            let tensors: Result<Vec<_>, _> = tensors.into_iter().collect();
            PackKey::new(&tensors.ok()?, quantization, shape, self.backend)
        };
        // Without a key something is wrong with the layer, and packing it says what.
        let matrix = match self.cache.and_then(|cache| Some((cache, key()?))) {
            Some((cache, key)) => cache.get_or_pack(&key, pack)?,
            None => pack()?,
        };
        Ok(Linear::LowBit(matrix))
    }

    fn pack(&self, name: &str, shape: (usize, usize), quantization: &GptqConfig) -> Result<LowBitMatrix, ModelError> {
        let layer = || name.to_owned();
        let matrix = gptq::unpack(self.checkpoint, name, quantization)
            .map_err(|source| ModelError::Gptq { layer: layer(), source })?;
        if (matrix.m, matrix.k) != shape {
            let source = parsimon_core::io::FormatError::Shape {
                file: self.checkpoint.path().to_owned(),
                tensor: format!("{name}.qweight"),
                expected: vec![shape.0, shape.1],
                actual: vec![matrix.m, matrix.k],
            };
            return Err(source.into());
        }
        LowBitMatrix::from_quantized(&matrix, self.backend)
            .map_err(|source| ModelError::Pack { layer: layer(), source })
    }

    fn dense(&self, name: &str, (m, k): (usize, usize)) -> Result<DenseMatrix, ModelError> {
        let tensor = self.checkpoint.tensor(&format!("{name}.weight"))?.expect_shape(&[m, k])?;
        Ok(DenseMatrix::new(tensor.to_f32()?, m, k))
    }

    fn vector(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        Ok(self.checkpoint.tensor(name)?.expect_shape(&[self.config.hidden_size])?.to_f32()?)
    }
}

fn norm_name(layer: usize, norm: &str) -> String {
    format!("model.layers.{layer}.{norm}.weight")
}
