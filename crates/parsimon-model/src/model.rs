//! The model and its forward pass.

use parsimon_attn::{Attention, KvDtype, KvPool, KvSequence};
use parsimon_lut::DenseMatrix;

use crate::batch::{Batch, Pass, Segment};
use crate::block::{Block, rms_norm};
use crate::{Linear, ModelConfig, ModelError, PackCacheReport, RopeFrequencies};

/// A model ready to run.
#[derive(Clone, Debug)]
pub struct Model {
    pub(crate) config: ModelConfig,
    pub(crate) embed: DenseMatrix,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: Vec<f32>,
    /// `None` when the embedding table is the output layer.
    pub(crate) lm_head: Option<DenseMatrix>,
    pub(crate) attention: Attention,
    pub(crate) rope: RopeFrequencies,
    pub(crate) pack_cache: Option<PackCacheReport>,
}

/// The keys and values of one sequence, in every layer: a pool of its own that grows.
#[derive(Clone, Debug)]
pub struct KvState {
    pub(crate) pool: KvPool,
    pub(crate) sequence: KvSequence,
}

impl KvState {
    /// Positions held.
    pub fn len(&self) -> usize {
        self.sequence.len()
    }

    /// Whether no position is held.
    pub fn is_empty(&self) -> bool {
        self.sequence.is_empty()
    }

    /// Bytes of the keys and values held.
    pub fn bytes(&self) -> usize {
        self.len() * self.pool.shape().position_bytes()
    }

    /// Forgets all positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.pool.truncate(&mut self.sequence, len);
    }
}

impl Model {
    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// How many layers came from the folder of packed weights when the model was opened; `None` without one.
    pub fn pack_cache(&self) -> Option<PackCacheReport> {
        self.pack_cache
    }

    /// An empty cache for a new sequence.
    pub fn new_state(&self) -> KvState {
        KvState { pool: KvPool::new(self.config.kv_shape(KvDtype::F32), None), sequence: KvSequence::default() }
    }

    /// Every linear layer inside the blocks.
    pub fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.blocks.iter().flat_map(Block::linears)
    }

    /// Bytes of weights that decoding one token reads: all linear layers and the output layer.
    pub fn bytes_per_token(&self) -> usize {
        self.linears().map(Linear::bytes).sum::<usize>() + self.output().bytes()
    }

    /// Logits `[n, vocab]` of `tokens`, which continue the sequence in `state`.
    ///
    /// # Errors
    ///
    /// [`ModelError::TokenOutOfRange`] and [`ModelError::ContextFull`] before anything changes; [`ModelError::Activation`] when a
    /// low-bit layer meets a number that is not finite.
    pub fn logits(&self, tokens: &[u32], state: &mut KvState) -> Result<Vec<f32>, ModelError> {
        let hidden = self.hidden(tokens, state)?;
        Ok(self.project(&hidden, tokens.len()))
    }

    /// Logits `[vocab]` after the last of `tokens`; the output layer runs for that position alone.
    ///
    /// # Errors
    ///
    /// As [`Model::logits`]; [`ModelError::EmptyPrompt`] without tokens.
    pub fn last_logits(&self, tokens: &[u32], state: &mut KvState) -> Result<Vec<f32>, ModelError> {
        if tokens.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        let hidden = self.hidden(tokens, state)?;
        Ok(self.project(&hidden[hidden.len() - self.config.hidden_size..], 1))
    }

    /// The embedding of a text: the mean of the normalized outputs of the last block over all positions, scaled to length 1.
    ///
    /// # Errors
    ///
    /// As [`Model::last_logits`].
    pub fn embed_text(&self, tokens: &[u32]) -> Result<Vec<f32>, ModelError> {
        if tokens.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        let hidden = self.hidden(tokens, &mut self.new_state())?;
        let mut sums = vec![0.0f64; self.config.hidden_size];
        for row in hidden.chunks_exact(self.config.hidden_size) {
            sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        let norm = sums.iter().map(|x| x * x).sum::<f64>().sqrt();
        Ok(sums.iter().map(|x| if norm > 0.0 { (x / norm) as f32 } else { 0.0 }).collect())
    }

    /// The normalized output of the last block, `[n, hidden]`.
    fn hidden(&self, tokens: &[u32], state: &mut KvState) -> Result<Vec<f32>, ModelError> {
        self.check_tokens(tokens, state.len())?;
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        let KvState { pool, sequence } = state;
        self.run(Batch { pool, segments: vec![Segment { tokens, sequence }], pass: Pass::Fast })
    }

    /// The normalized output of the last block for the tokens of all segments, `[n, hidden]`; no segment is empty, and all tokens are checked.
    ///
    /// The sequences grow by the tokens, or stay as they are when there is an error.
    pub(crate) fn run(&self, mut batch: Batch<'_>) -> Result<Vec<f32>, ModelError> {
        batch.reserve()?;
        let tokens = batch.segments.iter().flat_map(|segment| segment.tokens);
        let mut x: Vec<f32> = tokens.flat_map(|&token| self.embed.row(token as usize)).copied().collect();
        let angles = batch.angles(&self.rope);
        let mut buffers = Vec::new();
        for (layer, block) in self.blocks.iter().enumerate() {
            let shared = (&self.config, &self.attention);
            block.forward(shared, &angles, (&mut batch, layer), &mut x, &mut buffers)?;
        }
        batch.advance();
        Ok(rms_norm(&x, &self.norm, self.config.rms_norm_eps))
    }

    /// Whether `tokens` may stand from position `start` on.
    pub(crate) fn check_tokens(&self, tokens: &[u32], start: usize) -> Result<(), ModelError> {
        let vocab_size = self.config.vocab_size;
        if let Some(i) = tokens.iter().position(|&token| token as usize >= vocab_size) {
            return Err(ModelError::TokenOutOfRange { token: tokens[i], position: start + i, vocab_size });
        }
        let (needed, limit) = (start + tokens.len(), self.config.max_position_embeddings);
        if needed > limit {
            return Err(ModelError::ContextFull { needed, limit });
        }
        Ok(())
    }

    /// Logits `[n, vocab]` of normalized outputs.
    pub(crate) fn project(&self, hidden: &[f32], n: usize) -> Vec<f32> {
        let mut logits = vec![0.0; n * self.config.vocab_size];
        self.output().matmul_into(hidden, n, &mut logits);
        logits
    }

    fn output(&self) -> &DenseMatrix {
        self.lm_head.as_ref().unwrap_or(&self.embed)
    }
}

#[cfg(test)]
pub(crate) mod tests;
