//! How much memory an engine will need, before anything is loaded.

use std::path::Path;

use parsimon_attn::KvPool;
use parsimon_core::io::Checkpoint;
use parsimon_core::io::gguf::{Gguf, OpenOptions};

use super::EngineOptions;
use crate::batch::Batch;
use crate::{ModelConfig, ModelError};

/// Bytes of an engine by what they are for.
///
/// ```
/// use parsimon_model::{EngineOptions, MemoryNeed, ModelConfig};
///
/// let need = MemoryNeed::of(&ModelConfig::sigma_tiny(1000), 3 << 20, &EngineOptions::default());
/// assert!(need.check(1 << 30).is_ok());
/// let error = need.check(4 << 20).unwrap_err().to_string();
/// assert!(error.contains("4.0 MiB"), "{error}");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryNeed {
    /// The weights, as given.
    pub weights: usize,
    /// The cache when every page is in use.
    pub cache: usize,
    /// The largest step: activations, logits, and the keys and values of one sequence and layer as attention packs them.
    pub work: usize,
}

impl MemoryNeed {
    /// What a model with `weights` bytes of weights needs; sizes that do not fit a `usize` count as its largest value.
    pub fn of(config: &ModelConfig, weights: usize, options: &EngineOptions) -> Self {
        let product = |factors: &[usize]| factors.iter().fold(1usize, |product, &x| product.saturating_mul(x));
        let page = product(&[KvPool::PAGE, config.kv_shape(options.cache_dtype).position_bytes()]);
        let cache = product(&[options.cache_positions.div_ceil(KvPool::PAGE), page]);
        let tokens = options.step_tokens.min(config.context_length()).max(Batch::EXACT_MAX);
        let heads = (2 * config.heads.n_q() + config.heads.n_k() + config.heads.n_v()) * config.head_dim;
        // The residual, its norm and a result; both sides of the gate and their product.
        let row = 3 * config.hidden_size + heads + 3 * config.intermediate_size.max(config.aug_q_size);
        let logits = product(&[Batch::EXACT_MAX, config.vocab_size]);
        let positions = options.cache_positions.min(config.context_length());
        let packed = product(&[positions, (config.heads.n_k() + config.heads.n_v()) * config.head_dim]);
        let floats = product(&[tokens, row]).saturating_add(logits).saturating_add(packed);
        MemoryNeed { weights, cache, work: product(&[4, floats]) }
    }

    /// What the model of a folder or a `.gguf` file needs, by the sizes of its tensors: close to what is kept, since layers stay as narrow as they
    /// are stored (codebook blocks, which become `f32`, take more).
    ///
    /// # Errors
    ///
    /// As [`Model::open`](crate::Model::open) for the configuration and the directory of the tensors.
    pub fn of_path(path: &Path, options: &EngineOptions) -> Result<Self, ModelError> {
        let config = ModelConfig::open(path)?;
        let bytes = if crate::bind::is_gguf(path) {
            Gguf::open(path, &OpenOptions::default())?.tensors().map(|tensor| tensor.bytes as usize).sum()
        } else {
            let checkpoint = Checkpoint::open(path)?;
            // A tensor of an unknown dtype is not read either.
            checkpoint.names().filter_map(|name| Some(checkpoint.tensor(name).ok()?.bytes().len())).sum()
        };
        Ok(Self::of(&config, bytes, options))
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.weights.saturating_add(self.cache).saturating_add(self.work)
    }

    /// Whether `available` bytes are enough.
    ///
    /// # Errors
    ///
    /// [`ModelError::OutOfMemory`] with the parts.
    pub fn check(&self, available: usize) -> Result<(), ModelError> {
        if self.total() <= available { Ok(()) } else { Err(ModelError::OutOfMemory { need: *self, available }) }
    }
}

/// Bytes in MiB, for messages.
pub(crate) fn mib(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_what_the_pool_takes_and_nothing_overflows() {
        let config = ModelConfig::sigma_tiny(1000);
        for dtype in parsimon_attn::KvDtype::ALL {
            let options = EngineOptions { cache_positions: 1000, cache_dtype: dtype, ..EngineOptions::default() };
            let page = KvPool::new(config.kv_shape(dtype), None).page_bytes();
            assert_eq!(MemoryNeed::of(&config, 0, &options).cache, 16 * page);
        }
        let huge = EngineOptions { cache_positions: usize::MAX, step_tokens: usize::MAX, ..EngineOptions::default() };
        let need = MemoryNeed::of(&config, usize::MAX, &huge);
        assert_eq!(need.total(), usize::MAX);
        assert!(matches!(need.check(usize::MAX - 1), Err(ModelError::OutOfMemory { .. })));
    }
}
